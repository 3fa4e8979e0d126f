"""The formulas of runs, for the report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kan_exp.runs.folders import FORMULA
from kan_exp.runs.lenient_json import entry, number, read_object, text

COMPARED = ("formula - data", "formula - network")


class FormulaRow(NamedTuple):
    """The formula of one output of a run."""

    folder: Path  # of the run
    target: str  # what it describes
    formula: str  # as text
    found: bool  # whether it holds to the noise
    rmse: float | None  # to the data, or to the network where there are none; None if it is unknown


def read_formulas(folders: Iterable[Path]) -> list[FormulaRow]:
    """The formulas in the folders of runs; damaged files are left out."""
    rows = []
    for folder in dict.fromkeys(folders):
        if not (path := folder / FORMULA).is_file():
            continue
        for output in entry(read_object(path, []), "outputs", list):
            if not isinstance(output, dict) or text(output.get("formula")) is None:
                continue
            differences = {
                one.get("between"): number(one.get("rmse"))
                for one in entry(output, "differences", list)
                if isinstance(one, dict)
            }
            rmse = next((differences[name] for name in COMPARED if name in differences), None)
            target, found = text(output.get("target")) or "", output.get("found") is True
            rows.append(FormulaRow(folder, target, output["formula"], found, rmse))
    return rows
