# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Test errors on tables with and without columns that are monotone and convex.

python benchmarks/constraints.py                     scikit-learn's diabetes table
python benchmarks/constraints.py --tables FOLDER     the csv files of a folder, see TABLES
python benchmarks/constraints.py --tables FOLDER --only mtcars,cars

RMSE over five folds with `kan_exp.fit`, all defaults, and the standard error of its mean over the
folds. The folds are the same for both fits. Large tables are cut to 1,000 rows, drawn at random.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

import kan_exp

FOLDS, MOST = 5, 1_000


class Known(NamedTuple):
    """The target of a table, and how it depends on columns."""

    target: str
    monotone: Mapping[str, int]
    convex: Mapping[str, int] = {}


OWN = {"diabetes": Known("target", {"bmi": 1, "bp": 1, "s5": 1})}
TABLES = {
    "cars": Known(
        "Miles_per_Gallon", {"Weight_in_lbs": -1, "Horsepower": -1}, {"Weight_in_lbs": 1}
    ),
    "mtcars": Known("mpg", {"wt": -1, "hp": -1}, {"wt": 1}),
    "airquality": Known("Ozone", {"temp": 1, "Wind": -1}, {"Wind": 1}),
    "housing": Known("price", {"lotsize": 1, "stories": 1}, {"lotsize": -1}),
    "diamonds": Known("price", {"carat": 1}),
}


def read_table(folder: str | None, name: str) -> pl.DataFrame:
    """A csv file of a folder, or scikit-learn's own table."""
    if folder is not None:
        table = pl.read_csv(Path(folder) / f"{name}.csv")
        return table.sample(MOST, seed=0) if len(table) > MOST else table
    from sklearn.datasets import load_diabetes

    own = load_diabetes()
    return pl.DataFrame(own.data, own.feature_names).with_columns(target=own.target)


def errors(table: pl.DataFrame, known: Known, options: Mapping[str, Mapping[str, int]]) -> str:
    """RMSE over folds with its standard error, and the median seconds of a fit."""
    x, y = table.drop(known.target), table[known.target].to_numpy().astype(np.float64)
    squares, seconds = [], []
    order = np.random.default_rng(0).permutation(len(y))
    for test in np.array_split(order, FOLDS):
        train = np.setdiff1d(order, test)
        began = time.perf_counter()
        model = kan_exp.fit(x[train], y[train], progress=False, **options)
        seconds.append(time.perf_counter() - began)
        predicted = model.predict(x[test]).double().numpy()[:, 0]
        squares.append(np.square(predicted - y[test]).mean())
    error = np.std(np.sqrt(squares), ddof=1) / np.sqrt(FOLDS)
    digits = max(0, 1 - math.floor(math.log10(error)))  # two of the error
    rmse = f"{np.sqrt(np.mean(squares)):,.{digits}f} ± {error:,.{digits}f}"
    return f"{rmse} | {np.median(seconds):.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", metavar="FOLDER", help="csv files: " + ", ".join(TABLES))
    parser.add_argument("--only", help="tables, with commas")
    chosen = parser.parse_args()
    tables = OWN if chosen.tables is None else TABLES
    print("| table | rows | without | seconds | with | seconds |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in chosen.only.split(",") if chosen.only else tables:
        table, known = read_table(chosen.tables, name), tables[name]
        ways = ({}, {"monotone": known.monotone, "convex": known.convex})
        cells = [errors(table, known, options) for options in ways]
        print(f"| {name} | {len(table):,} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
