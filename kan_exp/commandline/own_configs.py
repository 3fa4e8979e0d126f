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
from kan_exp.errors import listing, suggest

GLOBAL = "# @package _global_"
WHOLE = ("experiment", "search")  # groups whose configs set options of all groups
BOM = "\ufeff"
MOST = 20  # names that a message lists


class Asked(NamedTuple):
    """A selected config, such as `experiment/mine`."""

    group: str
    name: str


class OwnConfigs:
    """Search path of configs, a user's own folders before kan_exp's.

    Args:
        own: Folders that the user has added.
        ours: `conf`.
        options: Top-level options of the configuration.
    """

    def __init__(self, own: Sequence[Path], ours: Path, options: Sequence[str]) -> None:
        self.own, self.ours, self.options = list(own), ours, list(options)

    def fault(self, asked: Sequence[Asked]) -> str | None:
        """The first fault in these files or in the files that their defaults select."""
        if not self.own:
            return None
        found = (text for one in asked for text in self._faults(one, ()))
        return next(found, None)

    def _faults(self, asked: Asked, above: tuple[Path, ...]) -> Iterator[str]:
        path = self._find(asked)
        if path is None:
            return
        if path in above:
            yield f"{path}: its defaults lead back to itself: take one of the entries out."
            return
        text, content, broken = _read(path)
        if broken is not None:
            yield f"{path}{broken}"
            return
        yield from (f"{path}{said}" for said in self._wrong_shape(asked, text, content))
        for entry in content.get("defaults") or []:
            if said := self._wrong_entry(text, asked, entry):
                yield f"{path}{said}"
            if (inner := _target(asked, entry)) is not None:
                yield from self._faults(inner, (*above, path))
        if _header(text) == "_global_":
            known = [*self.options, "defaults", "hydra"]
            for key in content:
                if str(key) not in known:
                    line = _line(text, str(key))
                    yield f"{path}{line}: {key}: there is no such option.{suggest(str(key), known)}"

    def _find(self, asked: Asked) -> Path | None:
        for folder in self.own:
            path = folder / asked.group / f"{asked.name}.yaml"
            if path.exists() or path.is_symlink():
                return path
        return None

    def _wrong_shape(self, asked: Asked, text: str, content: dict[str, Any]) -> Iterator[str]:
        header = next(iter(text.lstrip(BOM).splitlines()), "").strip()
        if re.match(r"#\s*@", header) and not re.fullmatch(r"#\s*@package\s+\S+", header):
            yield f", line 1: {header!r} is no such header: write {GLOBAL!r}."
        if not isinstance(content.get("defaults") or [], list):
            line = _line(text, "defaults")
            yield f"{line}: defaults must be a list, such as '- override /layer: spline'."
            content["defaults"] = []
        needed = asked.group in WHOLE or asked.group in content
        if needed and _header(text) is None:
            why = ""
            if text.startswith(BOM):
                why = " It begins with a byte-order mark: save it without."
            elif re.search(r"^\s*#\s*@package", text, re.MULTILINE):
                why = " It has that line further down."
            yield f": its first line must be {GLOBAL!r}.{why}"

    def _wrong_entry(self, text: str, asked: Asked, entry: Any) -> str | None:
        """The fault of an entry of the defaults list, without the file's name."""
        if isinstance(entry, str):
            return None
        if not isinstance(entry, dict) or len(entry) != 1:
            line = _line(text, "defaults")
            return f"{line}: {entry!r} is no entry of defaults, as 'override /layer: spline' is."
        ((key, name),) = entry.items()
        words = str(key).split()
        group = words[-1].partition("@")[0]
        plain, groups = group.lstrip("/"), self._groups()
        what = f"{_line(text, str(key))}: '{key}: {name}':"
        if plain not in groups:
            if not group.startswith("/") or plain.startswith("hydra"):
                return None
            known = f"There are: {listing(groups, MOST)}."
            return f"{what} there is no group {plain!r}.{suggest(plain, groups)} {known}"
        if asked.group and not (group.startswith("/") and "override" in words):
            return f"{what} write 'override /{plain}: {name}'."
        choices = self._choices(plain)
        if isinstance(name, str) and name not in choices:
            known = f"Choose from: {listing(choices, MOST)}."
            return f"{what} there is no such {plain}.{suggest(name, choices)} {known}"
        return None

    def _groups(self) -> list[str]:
        folders = [path for root in (self.ours, *self.own) for path in _listed(root)]
        return sorted({path.name for path in folders if path.is_dir() and path.name != "hydra"})

    def _choices(self, group: str) -> list[str]:
        files = [path for root in (self.ours, *self.own) for path in _listed(root / group)]
        return sorted({path.stem for path in files if path.suffix == ".yaml"})


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _read(path: Path) -> tuple[str, dict[str, Any], str | None]:
    """Text, content, and the reason why a file cannot be read, if there is one."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        return "", {}, f", line {line}: is not UTF-8 (byte 0x{byte:02x}): save it as UTF-8."
    except OSError as error:
        return "", {}, f": cannot be read: {error.strerror}."
    try:
        with path.open(encoding="utf-8") as file:
            content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except MarkedYAMLError as error:
        return "", {}, yaml_fault(error).removeprefix(str(path))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError, RecursionError) as error:
        reason = "it refers to itself" if isinstance(error, RecursionError) else first_line(error)
        return "", {}, f": cannot be read: {reason}."
    is_text = isinstance(content, dict) and list(content.values()) == [None] and ":" not in text
    if is_text or not isinstance(content, dict):
        kind = "a list" if isinstance(content, list) else "text"
        return "", {}, f": must hold options as 'name: value', got {kind}."
    return text, {str(key): value for key, value in content.items()}, None


def _header(text: str) -> str | None:
    """The package that the first lines of a file name."""
    for line in text.splitlines():
        if found := re.fullmatch(r"#\s*@package\s+(\S+)", line.strip()):
            return found[1]
        if line.strip():
            return None
    return None


def _line(text: str, beginning: str) -> str:
    """The line in which a key is set, as part of a message."""
    wanted = re.compile(rf"\s*-?\s*[\"']?{re.escape(beginning)}[\"']?\s*:")
    numbers = (n for n, line in enumerate(text.splitlines(), 1) if wanted.match(line))
    number = next(numbers, None)
    return "" if number is None else f", line {number}"


def _target(asked: Asked, entry: Any) -> Asked | None:
    """The config that an entry of the defaults list selects."""
    if isinstance(entry, str):
        name = entry.partition("@")[0]
        if name == "_self_":
            return None
        whole = name.lstrip("/") if name.startswith("/") else f"{asked.group}/{name}".lstrip("/")
        group, _, name = whole.rpartition("/")
        return Asked(group, name)
    if isinstance(entry, dict) and len(entry) == 1:
        ((key, name),) = entry.items()
        group = str(key).split()[-1].partition("@")[0]
        if isinstance(name, str):
            absolute = group.startswith("/")
            return Asked(
                group.lstrip("/") if absolute else f"{asked.group}/{group}".lstrip("/"), name
            )
    return None
