"""Splits command lines into flags and overrides, and finds the configs that they select."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from kan_exp.commandline.own_configs import Asked
from kan_exp.commandline.spelling import (
    COLUMNS,
    LISTS,
    MULTIRUN,
    is_path,
    spelled_option,
    split,
)
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.quoting import NO_TEXT, expand_home, shell, unquoted
from kan_exp.runs import option_name

# Flags whose value may be the next word.
WITH_VALUE = (
    *("--cfg", "-c", "--package", "-p", "--config-path", "-cp"),
    *("--config-name", "-cn", "--config-dir", "-cd", "--info", "-i", "--from"),
)
FLAGS = (
    *(*WITH_VALUE, *MULTIRUN, "--help", "-h", "--hydra-help", "--version", "--resolve"),
    *("--run", "-r", "--shell-completion", "-sc"),
)
UNSET = "???"
SHOWN = ("job", "hydra", "all")
INFO = ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
# Values of Hydra's that are no text: null, numbers, truth values, dicts.
NO_NAME = re.compile(rf"({NO_TEXT.pattern})|\{{.*\}}", re.IGNORECASE | re.DOTALL)
# What `~` may remove; `_target_` has an error of its own, and so has a group that is needed.
REMOVABLE = re.compile(r"callbacks\.\w+|hydra\.(sweeper\.(params|only)|env)\..+|.*\._target_")
GROUPS = (
    "layer",
    "data",
    "target",
    "task",
    "optimizer",
    "scheduler",
    "trainer",
    "logger",
    "callbacks",
)
NEEDED = re.compile(rf"(?!({'|'.join(GROUPS)}|experiment|search)$)[\w.]+")
# Paths, which Hydra takes for names: the run would be shown under another name than others.
FILE = re.compile(r"\.ya?ml\Z|\A/|(\A|/)\.\.?(/|\Z)")
SINGLE = ("layer", "optimizer", "scheduler", "trainer", "data", "target", "task", "search")
CHOICES = {"--cfg": SHOWN, "-c": SHOWN, "--info": INFO, "-i": INFO}


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Splits a command line into flags, with their values, and all other words.

    Raises:
        KanExpError: There is no such flag, or the value of one is missing.
    """
    flags: list[str] = []
    rest: list[str] = []
    words = list(arguments)
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-":
            rest.append(word)
            continue
        name, equals, value = word.partition("=")
        # Long flags may be cut short, as argparse lets them.
        short = [flag for flag in FLAGS if len(name) > 2 and flag.startswith(name)]
        full = [name] if name in FLAGS else short if name.startswith("--") else []
        if not full:
            meant = word.lstrip("-")
            write = f" Options have no dashes: write {shell(meant)}." if equals else ""
            raise KanExpError(f"{name}: there is no such flag.{suggest(name, FLAGS)}{write}")
        if len(full) > 1:
            raise KanExpError(f"{name} may be any of {', '.join(full)}: write it in full.")
        if equals and full[0] not in WITH_VALUE:
            raise KanExpError(f"{name} takes no value, got {value!r}.")
        flags.append(word)
        choices = CHOICES.get(full[0])
        if full[0] not in WITH_VALUE:
            continue
        if not equals:
            if full[0] in ("--info", "-i") and (not words or "=" in words[0]):
                flags.append("all")  # or Hydra would take the first option for its value
                continue
            if not words:
                raise KanExpError(f"{name} needs a value, such as {name} {_example(full[0])}.")
            value = words.pop(0)
            flags.append(value)
        if choices and value not in choices:
            raise KanExpError(f"{name} takes one of {', '.join(choices)}, got {value!r}.")
    return flags, rest


def _example(flag: str) -> str:
    examples = {"--from": "outputs/<date>/<run>", "--cfg": "job", "-c": "job"}
    return examples.get(flag, "my_conf" if flag in ("--config-dir", "-cd") else "NAME")


def spelled(arguments: Sequence[str]) -> list[str]:
    """Spells a command line as Hydra reads it, its flags first.

    Raises:
        KanExpError: There is no such flag.
    """
    flags, overrides = split_flags(arguments)
    names = [option_name(text) for text in overrides]
    many = bool(set(MULTIRUN) & set(flags)) or "search" in names
    if "--hydra-help" in flags:  # which would be composed with the options, and without configs
        return flags
    for text in overrides:
        _check_set(text)
    return [*_with_homes(flags), *(spelled_option(text, many) for text in overrides)]


def _check_set(text: str) -> None:
    """Refuses `???` as a value, which OmegaConf takes for none, even in quotes.

    Raises:
        KanExpError: An option is set to it, or a list that it takes has it.
    """
    name, _, value = option_name(text), *text.partition("=")[1:]
    parts = split(value.strip("[]")) if name in LISTS else [value]
    if any((unquoted(part.strip()) or part.strip()) == UNSET for part in parts):
        thing = "column" if name in COLUMNS else "file" if is_path(name) else ""
        rename = f", or rename the {thing} if it is called so" if thing else ""
        raise KanExpError(f"{name}: {UNSET} stands for a value that is not set: give one{rename}.")


def _with_homes(flags: Sequence[str]) -> list[str]:
    """Checks the folders of `--config-dir` and expands `~` in them."""
    out: list[str] = []
    for at, word in enumerate(flags):
        name, equals, value = word.partition("=")
        before = flags[at - 1] if at else ""
        if name in ("--config-dir", "-cd") and equals:
            word = f"{name}={_folder(value)}"
        elif before in ("--config-dir", "-cd"):
            word = _folder(word)
        out.append(word)
    return out


def _folder(text: str) -> str:
    folder = expand_home(text)
    if not folder.is_dir():
        reason = "is not a folder" if folder.exists() else "there is no such folder"
        raise KanExpError(f"--config-dir {shell(text)}: {reason} (looked for {folder.absolute()}).")
    return str(folder)


def own_folders(arguments: Sequence[str]) -> list[Path]:
    """The folders that a command line adds to the search path."""
    found = []
    flags, overrides = split_flags(arguments)
    for at, word in enumerate(flags):
        name, equals, value = word.partition("=")
        if name in ("--config-dir", "-cd"):
            found.append(value if equals else flags[at + 1])
    for text in overrides:
        if option_name(text) == "hydra.searchpath":
            parts = split(text.partition("=")[2].strip("[]"))
            found += [(unquoted(part) or part).removeprefix("file://") for part in parts]
    return [Path(folder) for folder in found]


def asked_configs(arguments: Sequence[str]) -> list[Asked]:
    """The configs that a command line selects: `group=choice`, all choices of a sweep."""
    flags, overrides = split_flags(arguments)
    found = [
        Asked("", name.removesuffix(".yaml"))
        for flag, name in itertools.pairwise(flags)
        if flag in ("--config-name", "-cn")
    ]
    for text in overrides:
        group, equals, value = text.lstrip("+").partition("=")
        if equals and re.fullmatch(r"[\w/]+", group):
            found += [Asked(group, unquoted(part) or part.strip()) for part in split(value)]
    return found


def check_config_name(arguments: Sequence[str], command: str, configs: Path) -> None:
    """Refuses the configuration of another command as this one's.

    Args:
        arguments: As Hydra reads them.
        command: The name of this command's configuration.
        configs: The folder of all commands' configurations.

    Raises:
        KanExpError: `--config-name` names such a one.
    """
    commands = {path.stem for path in configs.glob("*.yaml")} - {"command"}
    flags = split_flags(arguments)[0]
    for flag, value in itertools.pairwise([word for one in flags for word in one.split("=", 1)]):
        if flag not in ("--config-name", "-cn"):
            continue
        name = value.removesuffix(".yaml")
        if name in commands - {command}:
            raise KanExpError(
                f"{flag} {name} is for python -m kan_exp.{name}: start that one, without {flag}."
            )


def check_removals(arguments: Sequence[str]) -> None:
    """Refuses to remove an option that the program needs, such as `~logger.save_dir`.

    Groups that a run can do without may be removed, callbacks, entries of a search, and options of
    a user's own kinds.

    Raises:
        KanExpError: An option is to be removed.
    """
    for text in arguments:
        name = option_name(text)
        if not text.startswith("~") or not NEEDED.fullmatch(name) or REMOVABLE.fullmatch(name):
            continue
        if name.partition(".")[0] in GROUPS and own_folders(arguments):
            continue
        raise KanExpError(
            f"{text}: options cannot be removed, only set: write {name}=... or leave it out."
        )


def check_choices(arguments: Sequence[str], configs: Path) -> None:
    """Refuses a choice of a group that names no config, such as `scheduler=null`.

    Args:
        arguments: As Hydra reads them.
        configs: The folder of the groups.

    Raises:
        KanExpError: There is one; the message lists the choices.
    """
    for text in split_flags(arguments)[1]:
        group, equals, value = text.lstrip("+").partition("=")
        if not equals or not re.fullmatch(r"\w+(/\w+)*", group):
            continue
        names = sorted(path.stem for path in (configs / group).glob("*.yaml"))
        for part in split(value) if names else []:
            several = group in SINGLE and part.strip().startswith("[")
            if several or NO_NAME.fullmatch(part.strip()) or FILE.search(part.strip()):
                off = f" set {group}=none, or" if "none" in names else ""
                listed = listing(names, most=20)
                raise KanExpError(
                    f"{group}={part}: {group} takes the name of a config:{off} choose from: "
                    f"{listed}."
                )
