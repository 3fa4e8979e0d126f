"""The formulas of runs, for the report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from kan_exp.runs.folders import FORMULA
from kan_exp.runs.lenient_json import number, objects, read_object, text

COMPARED = ("formula - data", "formula - network")


class FormulaRow(NamedTuple):
    """The formula of one output of a run."""

    folder: Path  # of the run
    target: str  # what it describes
    formula: str
    found: bool  # whether it holds to the noise
    rmse: float | None  # to the data, or to the network where there are none


def read_formulas(folders: Iterable[Path]) -> list[FormulaRow]:
    """The formulas in the folders of runs; damaged files are left out."""
    rows = []
    for folder in dict.fromkeys(folders):
        for output in objects(read_object(folder / FORMULA), "outputs"):
            if (formula := text(output.get("formula"))) is None:
                continue
            differences = {
                one.get("between"): number(one.get("rmse"))
                for one in objects(output, "differences")
            }
            rmse = next((differences[name] for name in COMPARED if name in differences), None)
            target, found = text(output.get("target")) or "", output.get("found") is True
            rows.append(FormulaRow(folder, target, formula, found, rmse))
    return rows
