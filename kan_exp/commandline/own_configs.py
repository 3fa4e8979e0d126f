"""Finds faults in a user's own YAML files that a command line selects."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from kan_exp.commandline.explain import first_line, yaml_fault
from kan_exp.commandline.renamed import renamed_config
from kan_exp.errors import KanExpError, listing, suggest

GLOBAL = "# @package _global_"
WHOLE = ("experiment", "search")  # groups whose configs set options of all groups
BOM = "\ufeff"
MAX_NAMES = 20


class ConfigChoice(NamedTuple):
    """A selected config, such as `experiment/mine`."""

    group: str
    name: str


class OwnConfigs:
    """The user's `own` folders of configs, `ours`, and the `options` that any may set."""

    def __init__(self, own: Sequence[Path], ours: Path, options: Sequence[str]) -> None:
        self.own, self.folders = list(own), [ours, *own]
        self.known = [*options, "defaults", "hydra"]

    def fault(self, choices: Sequence[ConfigChoice]) -> str | None:
        """The first fault in these files or in the files that their defaults select."""
        faults = (text for choice in choices for text in self._faults(choice, ()))
        return next(faults, None)

    def _faults(self, choice: ConfigChoice, including: tuple[Path, ...]) -> Iterator[str]:
        paths = [folder / choice.group / f"{choice.name}.yaml" for folder in self.own]
        path = next((path for path in paths if path.exists() or path.is_symlink()), None)
        if path is None:
            return
        if path in including:
            yield f"{path}: its defaults lead back to itself: take one of the entries out."
            return
        try:
            text, content = _read(path, choice.group)
        except KanExpError as error:
            yield f"{path}{error}"
            return
        header = _header(text)
        yield from (f"{path}{fault}" for fault in _wrong_header(choice, text, header, content))
        defaults = content.get("defaults") or []
        if not isinstance(defaults, list):
            line = _line(text, "defaults")
            yield f"{path}{line}: defaults must be a list, such as '- override /layer: spline'."
            defaults = []
        for entry in defaults:
            if fault := self._wrong_entry(text, choice, entry):
                yield f"{path}{fault}"
            if (inner := _selected(choice, entry)) is not None:
                yield from self._faults(inner, (*including, path))
        for key in map(str, content if header == "_global_" else ()):
            if key not in self.known:
                hint = suggest(key, self.known)
                yield f"{path}{_line(text, key)}: {key}: there is no such option.{hint}"

    def _wrong_entry(self, text: str, choice: ConfigChoice, entry: Any) -> str | None:
        """The fault of an entry of the defaults list, without the file's name."""
        if isinstance(entry, str):
            return None
        if not isinstance(entry, dict) or len(entry) != 1:
            line = _line(text, "defaults")
            return f"{line}: {entry!r} is no entry of defaults, as 'override /layer: spline' is."
        ((key, name),) = entry.items()
        *signs, group = str(key).split()
        group = group.partition("@")[0]
        plain, groups = group.lstrip("/"), self._names("", "")
        start = f"{_line(text, str(key))}: '{key}: {name}':"
        if plain not in groups:
            if not group.startswith("/") or plain.startswith("hydra"):
                return None
            known = f"There are: {listing(groups, MAX_NAMES)}."
            return f"{start} there is no group {plain!r}.{suggest(plain, groups)} {known}"
        if choice.group and not (group.startswith("/") and "override" in signs):
            return f"{start} write 'override /{plain}: {name}'."
        choices = self._names(plain, ".yaml")
        if isinstance(name, str) and name not in choices:
            known = f"Choose from: {listing(choices, MAX_NAMES)}."
            return f"{start} there is no such {plain}.{suggest(name, choices)} {known}"
        return None

    def _names(self, group: str, suffix: str) -> list[str]:
        """The groups, or the configs of a group."""
        paths = [path for folder in self.folders for path in (folder / group).glob(f"*{suffix}")]
        return sorted({path.stem for path in paths if suffix or path.is_dir()} - {"hydra"})


def _wrong_header(
    choice: ConfigChoice, text: str, header: str | None, content: dict[str, Any]
) -> Iterator[str]:
    first = next(iter(text.lstrip(BOM).splitlines()), "").strip()
    if re.match(r"#\s*@", first) and not re.fullmatch(r"#\s*@package\s+\S+", first):
        yield f", line 1: {first!r} is no such header: write {GLOBAL!r}."
    if header is None and (choice.group in WHOLE or choice.group in content):
        reason = ""
        if text.startswith(BOM):
            reason = " It begins with a byte-order mark: save it without."
        elif re.search(r"^\s*#\s*@package", text, re.MULTILINE):
            reason = " It has that line further down."
        yield f": its first line must be {GLOBAL!r}.{reason}"


def _read(path: Path, group: str) -> tuple[str, dict[str, Any]]:
    """Text and content of a file. The message of a `KanExpError` lacks its name."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line, byte = error.object[: error.start].count(b"\n") + 1, error.object[error.start]
        reason = f", line {line}: is not UTF-8 (byte 0x{byte:02x}): save it as UTF-8."
        raise KanExpError(reason) from error
    except OSError as error:
        raise KanExpError(f": cannot be read: {error.strerror}.") from error
    try:
        with path.open(encoding="utf-8") as file:
            content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
        content = renamed_config(content, group)
    except MarkedYAMLError as error:
        raise KanExpError(yaml_fault(error).removeprefix(str(path))) from error
    except RecursionError as error:
        raise KanExpError(": cannot be read: it refers to itself.") from error
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise KanExpError(f": cannot be read: {first_line(error)}.") from error
    is_text = isinstance(content, dict) and list(content.values()) == [None] and ":" not in text
    if is_text or not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "text"
        raise KanExpError(f": must hold options as 'name: value', got {kind}.")
    return text, content


def _header(text: str) -> str | None:
    """The package that the first line of a file names."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    match = re.fullmatch(r"#\s*@package\s+(\S+)", first.strip())
    return match[1] if match else None


def _line(text: str, key: str) -> str:
    """The line in which a key is set, as part of a message."""
    wanted = re.compile(rf"\s*-?\s*[\"']?{re.escape(key)}[\"']?\s*:")
    numbers = (n for n, line in enumerate(text.splitlines(), 1) if wanted.match(line))
    number = next(numbers, None)
    return "" if number is None else f", line {number}"


def _selected(choice: ConfigChoice, entry: Any) -> ConfigChoice | None:
    """The config that an entry of the defaults list selects."""
    if isinstance(entry, dict) and len(entry) == 1:
        ((key, name),) = entry.items()
        if not isinstance(name, str):
            return None
        path = f"{str(key).split()[-1].partition('@')[0]}/{name}"
    elif isinstance(entry, str) and entry.partition("@")[0] != "_self_":
        path = entry.partition("@")[0]
    else:
        return None
    whole = path if path.startswith("/") else f"{choice.group}/{path}"
    return ConfigChoice(*whole.lstrip("/").rpartition("/")[::2])
