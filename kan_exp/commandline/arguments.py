"""Splits command lines into flags and overrides, and finds the configs that they select."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kan_exp.commandline.own_configs import ConfigChoice
from kan_exp.commandline.renamed import renamed_options
from kan_exp.commandline.spelling import COLUMNS, LISTS, is_path, spelled_option, split
from kan_exp.config import GROUPS
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.quoting import NO_TEXT, expand_home, shell, unquoted
from kan_exp.runs import option_name

# Flags by their short forms: those with a value, which may be the next word, and others.
WITH_VALUE = {
    **{"--cfg": "-c", "--package": "-p", "--config-path": "-cp", "--config-name": "-cn"},
    **{"--config-dir": "-cd", "--info": "-i", "--from": "--from"},
}
WITHOUT_VALUE = {
    **{"--multirun": "-m", "--help": "-h", "--hydra-help": "--hydra-help", "--run": "-r"},
    **{"--version": "--version", "--resolve": "--resolve", "--shell-completion": "-sc"},
}
FLAGS = WITH_VALUE | WITHOUT_VALUE
EXAMPLES = {"--from": "outputs/<date>/<run>", "--cfg": "job", "--config-dir": "my_conf"}
VALUES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
UNSET = "???"
# Values of Hydra's that are no text: null, numbers, truth values, dicts.
NO_NAME = re.compile(rf"({NO_TEXT.pattern})|\{{.*\}}", re.IGNORECASE | re.DOTALL)
# What `~` may remove; `_target_` has an error of its own, and so has a group that is needed.
REMOVABLE = re.compile(
    rf"{'|'.join(GROUPS)}|callbacks(\.\w+)?|experiment|search|.*[^\w.].*|.*\._target_"
    r"|hydra\.(sweeper\.(params|only)|env)\..+"
)
# Paths, which Hydra takes for names: the run would be shown under another name than others.
FILE = re.compile(r"\.ya?ml\Z|\A/|(\A|/)\.\.?(/|\Z)")


class Flag(NamedTuple):
    """A flag of a command line."""

    name: str  # the long one
    value: str
    words: list[str]  # the flag and its value as Hydra reads them


def split_flags(arguments: Sequence[str]) -> tuple[list[Flag], list[str]]:
    """Splits a command line into flags and all other words."""
    flags: list[Flag] = []
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        typed, equals, value = word.partition("=")
        name = _long_name(typed, word)
        read = [word]
        if name not in WITH_VALUE:
            if equals:
                raise KanExpError(f"{typed} takes no value, got {value!r}.")
        elif not equals:
            if name == "--info" and (not words or "=" in words[0]):
                words.insert(0, "all")  # or Hydra would take the first option for its value
            if not words:
                example = EXAMPLES.get(name, "NAME")
                raise KanExpError(f"{typed} needs a value, such as {typed} {example}.")
            value = words.pop(0)
            read.append(value)
        if name in VALUES and value not in VALUES[name]:
            raise KanExpError(f"{typed} takes one of {', '.join(VALUES[name])}, got {value!r}.")
        flags.append(Flag(name, value, read))
    return flags, rest


def _long_name(typed: str, word: str) -> str:
    """The long name of a flag; long flags may be cut short, as argparse lets them."""
    exact = [name for name, short in FLAGS.items() if typed in (name, short)]
    cut = [name for name in FLAGS if typed.startswith("--") and len(typed) > 2]
    names = exact or [name for name in cut if name.startswith(typed)]
    if not names:
        option = word.lstrip("-")
        write = f" Options have no dashes: write {shell(option)}." if "=" in word else ""
        known = [*FLAGS, *FLAGS.values()]
        raise KanExpError(f"{typed}: there is no such flag.{suggest(typed, known)}{write}")
    if len(names) > 1:
        raise KanExpError(f"{typed} may be any of {', '.join(names)}: write it in full.")
    return names[0]


def spelled(arguments: Sequence[str]) -> list[str]:
    """Spells a command line as Hydra reads it, its flags first."""
    flags, overrides = split_flags(arguments)
    names = [option_name(text) for text in overrides]
    many = any(flag.name == "--multirun" for flag in flags) or "search" in names
    if any(flag.name == "--hydra-help" for flag in flags):
        return ["--hydra-help"]  # which would be composed with the options, and without configs
    for text in overrides:
        _check_set(text)
    for option, folder in _own_folders(flags, overrides):
        _check_folder(option, folder)
    words = [word for flag in flags for word in _with_home(flag)]
    return [*words, *(spelled_option(text, many) for text in renamed_options(overrides))]


def _check_set(text: str) -> None:
    """Refuses `???` as a value, which OmegaConf takes for none, even in quotes."""
    name, value = option_name(text), text.partition("=")[2]
    parts = split(value.strip("[]")) if name in LISTS else [value]
    if any((unquoted(part.strip()) or part.strip()) == UNSET for part in parts):
        kind = "column" if name in COLUMNS else "file" if is_path(name) else ""
        rename = f", or rename the {kind} if it is called so" if kind else ""
        raise KanExpError(f"{name}: {UNSET} stands for a value that is not set: give one{rename}.")


def _with_home(flag: Flag) -> list[str]:
    """The words of a flag, with `~` expanded in folders of configs."""
    if flag.name != "--config-dir":
        return flag.words
    folder = str(expand_home(flag.value))
    return [f"--config-dir={folder}"] if len(flag.words) == 1 else [flag.words[0], folder]


def _check_folder(option: str, text: str) -> None:
    folder = expand_home(text) if option == "--config-dir" else Path(text)
    if "${" in text or "://" in text or folder.is_dir():
        return
    reason = "is not a folder" if folder.exists() else "there is no such folder"
    raise KanExpError(f"{option} {shell(text)}: {reason} (looked for {folder.absolute()}).")


def _own_folders(flags: Sequence[Flag], overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The folders that a command line adds to the search path, with the option that names each."""
    for flag in flags:
        if flag.name == "--config-dir":
            yield flag.name, flag.value
    for text in overrides:
        if option_name(text) == "hydra.searchpath":
            parts = map(str.strip, split(text.partition("=")[2].strip("[]")))
            for part in filter(None, parts):
                yield "hydra.searchpath", (unquoted(part) or part).removeprefix("file://")


def own_folders(arguments: Sequence[str]) -> list[Path]:
    """The folders that a command line adds to the search path."""
    return [Path(folder) for _, folder in _own_folders(*split_flags(arguments))]


def chosen_configs(arguments: Sequence[str]) -> list[ConfigChoice]:
    """The configs that a command line selects: `group=choice`, all choices of a sweep."""
    flags, overrides = split_flags(arguments)
    names = [flag.value for flag in flags if flag.name == "--config-name"]
    chosen = [ConfigChoice("", name.removesuffix(".yaml")) for name in names]
    for text in overrides:
        group, equals, value = text.lstrip("+").partition("=")
        if equals and re.fullmatch(r"[\w/]+", group):
            parts = [unquoted(part) or part.strip() for part in split(value)]
            chosen += [ConfigChoice(group, part) for part in parts]
    return chosen


def check_config_name(arguments: Sequence[str], command: str, configs: Path) -> None:
    """Refuses `--config-name` with the configuration of another command."""
    others = {path.stem for path in configs.glob("*.yaml")} - {"command", command}
    for flag in split_flags(arguments)[0]:
        name = flag.value.removesuffix(".yaml")
        if flag.name == "--config-name" and name in others:
            raise KanExpError(
                f"{flag.name} {name} is for python -m kan_exp.{name}: start that one, without "
                f"{flag.name}."
            )


def check_removals(arguments: Sequence[str]) -> None:
    """Refuses to remove an option that the program needs, such as `~logger.save_dir`.

    Groups that a run can do without may be removed, callbacks, entries of a search, and options of
    a user's own kinds.
    """
    for text in arguments:
        name = option_name(text)
        if not text.startswith("~") or not name or REMOVABLE.fullmatch(name):
            continue
        if name.partition(".")[0] in (*GROUPS, "callbacks") and own_folders(arguments):
            continue
        raise KanExpError(f"{text}: options cannot be removed, only set: write {name}=...")


def check_choices(arguments: Sequence[str], configs: Path) -> None:
    """Refuses a choice of a group that names no config, such as `scheduler=null`."""
    for text in split_flags(arguments)[1]:
        group, equals, value = text.lstrip("+").partition("=")
        if not equals or not re.fullmatch(r"\w+(/\w+)*", group):
            continue
        names = sorted(path.stem for path in (configs / group).glob("*.yaml"))
        for part in map(str.strip, split(value) if names else []):
            several = group in (*GROUPS, "search") and part.startswith("[")
            if several or NO_NAME.fullmatch(part) or FILE.search(part):
                none = f" set {group}=none, or" if "none" in names else ""
                raise KanExpError(
                    f"{group}={part}: {group} takes the name of a config:{none} choose from: "
                    f"{listing(names, most=20)}."
                )
