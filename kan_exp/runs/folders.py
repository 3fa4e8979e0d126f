"""Folders of runs: their names, and which one was meant if another path was given."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

from kan_exp.errors import KanExpError, closest
from kan_exp.quoting import expand_home
from kan_exp.runs.identity import decides_result
from kan_exp.runs.results import NAME as METRICS
from kan_exp.runs.status import NAME as STATUS
from kan_exp.runs.status import read_status

SWEEP = "sweep.json"
FORMULA = "formula.json"
RECORDS = (METRICS, STATUS, ".hydra")  # files that describe a run
CHECKPOINTS = ("checkpoints/best.ckpt", "checkpoints/last.ckpt")
TRACES = (*RECORDS, *CHECKPOINTS)  # any makes a folder a run's
RESULTS = (METRICS, "history.json", *CHECKPOINTS)  # what another run must not replace
LEVELS = 3  # how deep a file may lie in a run's folder, and a run in a folder of runs

MAX_BYTES = 100  # file systems allow 255
# Windows keeps these for devices, with any suffix.
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def from_here(path: str | Path) -> Path:
    """A path as it can be typed from the current folder: relative if it lies below."""
    path, here = Path(path), Path.cwd()
    # Not `.` if Hydra has changed to the run's folder (hydra.job.chdir=true).
    return path.relative_to(here) if here in path.parents else path


def is_run(folder: Path) -> bool:
    """Whether a run has written a folder."""
    has_trace = any((folder / name).exists() for name in TRACES)
    return has_trace and not (folder / SWEEP).exists()


def occupied_by(folder: Path) -> str | None:
    """The results, or a status file of another program, that a new run would overwrite."""
    for name in RESULTS:
        if (folder / name).exists():
            return f"a run already ({name})"
    if (folder / STATUS).exists() and read_status(folder) is None:
        return f"a {STATUS} that is no run's"
    return None


def find_checkpoint(folder: str | Path, names: Sequence[str] = CHECKPOINTS) -> Path:
    """Finds the first of some files in a run's folder: its best checkpoint, or else the last.

    Raises:
        KanExpError: The folder, or a checkpoint in it, is missing.
    """
    folder = expand_home(folder)
    if not folder.is_dir() or not is_run(folder):
        raise KanExpError(no_run(folder))
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise KanExpError(
        f"{folder}: no checkpoint found there (looked for {' and '.join(names)}): "
        f"the run ended before its first; name another, or run it again with --from."
    )


def no_run(path: str | Path) -> str:
    """Explains why a path is not the folder of a run, and which folder to use instead."""
    path = Path(path)
    # Not `resolve`: the folder is shown as the user would type it.
    inside = next((above for above in list(path.parents)[:LEVELS] if is_run(above)), None)
    if inside is not None and path.name != "..":
        problem = "is in the folder of a run" if path.exists() else "is not there"
        return f"{path} {problem}: name the run's folder, {inside}."
    if not path.exists():
        return f"{path}: there is no such folder of a run.{_similar(path)}"
    if not path.is_dir():
        return f"{path} is a file: name the folder of a run, such as outputs/<date>/<run>."
    runs = _runs_below(path)
    if (path / SWEEP).exists():
        job = f" the folder of a job, such as {runs[0]}," if runs else " one of its jobs"
        return f"{path} is the folder of a sweep: name{job} or resume it with sweep.resume."
    if runs:
        count = "a run" if len(runs) == 1 else "several runs"
        return f"{path} holds {count}: name the folder of one, such as {runs[-1]}."
    return f"{path}: holds no run: name the folder of one, such as outputs/<date>/<run>."


def _runs_below(folder: Path) -> list[Path]:
    """The nearest runs below a folder, sorted by name."""
    level = [folder]
    for _ in range(LEVELS):
        try:
            level = sorted(path for parent in level for path in parent.iterdir() if path.is_dir())
        except OSError:
            return []
        if runs := [path for path in level if is_run(path)]:
            return runs
    return []


def _similar(path: Path) -> str:
    try:
        names = [sibling.name for sibling in path.parent.iterdir() if sibling.is_dir()]
    except OSError:
        return ""
    near = closest(path.name, names)
    return "" if near is None else f" Did you mean {path.parent / near}?"


def folder_name(first: str, overrides: Iterable[str]) -> str:
    """A folder's name: `3` and `layer=mlp`, `seed=0` give `3_layer-mlp_seed-0`.

    `first` makes it unique: a time, or a job's number. Letters of all languages are kept where the
    file system can store them.
    """
    words = [first, *(_plain(text) for text in overrides)]
    try:
        os.fsencode("".join(words))
    except UnicodeEncodeError:  # as in LC_ALL=C without Python's UTF-8 mode
        words = [re.sub(r"-*[^\x00-\x7f]+-*", "-", word).strip("-") for word in words]
    name = "_".join(word for word in words if word)
    name = name.encode()[:MAX_BYTES].decode(errors="ignore").rstrip("-_.") or "run"
    return f"run_{name}" if RESERVED.match(name) else name


def _plain(text: str) -> str:
    """Letters, digits and `_.+-`; other characters become a hyphen."""
    kept = (
        char if char.isalnum() or char in "_.+" or unicodedata.category(char)[0] == "M" else "-"
        for char in unicodedata.normalize("NFC", text)
    )
    return re.sub("-+", "-", "".join(kept)).strip("-")


def run_name(began: str, overrides: Iterable[str]) -> str:
    """The name of a single run's folder: its start and the overrides that affect its result."""
    return folder_name(began, [text for text in overrides if decides_result(text)])
