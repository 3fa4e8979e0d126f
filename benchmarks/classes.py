# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Log-loss of classes on test rows at default settings, compared with scikit-learn.

python benchmarks/classes.py                             scikit-learn's own tables, spline edges
python benchmarks/classes.py --penguins penguins.csv     also palmerpenguins' table, as it is
python benchmarks/classes.py --kinds spline,mlp --only iris,wine --splits 2

Each of five stratified splits trains on 85% of the rows and tests on the others. Networks keep some
of the training rows for validation; peers train on all of them. In brackets is the difference from
the better of the two peers (by their means on this table) in paired standard errors over all test
rows: above 1 the network is worse.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from kan_exp.train import prepare

Floats = NDArray[np.float64]
Method = Callable[[pl.DataFrame, pl.DataFrame, int], Floats]

NAMES = ("iris", "wine", "breast_cancer", "digits")
TARGET = "target class"
VALIDATION = 0.15 / 0.85  # of the rows that are not tested: the same share as by default
LEAST = 2.0**-52


class Table(NamedTuple):
    name: str
    rows: pl.DataFrame  # the target is text


def read_tables(penguins: str | None) -> list[Table]:
    from sklearn import datasets

    tables = []
    for name in NAMES:
        bunch = getattr(datasets, f"load_{name}")()
        columns = {f"x{k}": column for k, column in enumerate(bunch.data.T)}
        labels = [f"class {label}" for label in bunch.target]
        tables.append(Table(name, pl.DataFrame({**columns, TARGET: labels})))
    if penguins is not None:
        rows = pl.read_csv(penguins, null_values="NA").drop_nulls()
        tables.append(Table("penguins", rows.rename({"species": TARGET})))
    return tables


def own(options: list[str]) -> Method:
    """A network as the command trains it, from a file with the training rows alone."""

    def predict(train: pl.DataFrame, test: pl.DataFrame, seed: int) -> Floats:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.csv")
            train.write_csv(path)
            few = max(len(train[TARGET].unique()), 0.01 * len(train)) / len(train)
            first, second = round(1 - VALIDATION - few, 6), round(VALIDATION, 6)
            given = [
                "data=table",
                f"data.path='{path}'",
                f"data.target='{TARGET}'",
                f"data.fractions=[{first},{second},{1 - first - second:.6f}]",
                f"data.seed={seed}",
                f"seed={seed}",
                "logger=none",
            ]
            model = prepare([*given, *options], Path(folder, "run")).fit().model
            chances = model.predict(test.drop(TARGET)).double().numpy()
            return chosen(chances, list(model.classes), test)

    return predict


def chosen(chances: Floats, classes: list[str], test: pl.DataFrame) -> Floats:
    """The probability of the true class of each row."""
    index = [classes.index(label) for label in test[TARGET]]
    return chances[np.arange(len(test)), index]


def peers() -> dict[str, Method]:
    import pandas as pd
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def fitted(make: Callable[[int], Any]) -> Method:
        def predict(train: pl.DataFrame, test: pl.DataFrame, seed: int) -> Floats:
            numbers = make_column_transformer(
                (
                    OneHotEncoder(sparse_output=False),
                    make_column_selector(dtype_include=[str, object]),
                ),
                remainder=StandardScaler(),
            )
            parts = (part.drop(TARGET).to_dict(as_series=False) for part in (train, test))
            frames = [pd.DataFrame(part) for part in parts]
            with warnings.catch_warnings(action="ignore"):
                model = make_pipeline(numbers, make(seed)).fit(frames[0], train[TARGET].to_list())
                chances = model.predict_proba(frames[1])
            return chosen(chances, list(model.classes_), test)

        return predict

    return {
        "logistic": fitted(lambda _: LogisticRegression(max_iter=10_000)),
        "histgb": fitted(lambda seed: HistGradientBoostingClassifier(random_state=seed)),
    }


def splits(table: Table, count: int) -> list[tuple[pl.DataFrame, pl.DataFrame]]:
    from sklearn.model_selection import StratifiedShuffleSplit

    splitter = StratifiedShuffleSplit(count, test_size=0.15, random_state=0)
    pairs = splitter.split(np.zeros(len(table.rows)), table.rows[TARGET].to_list())
    return [(table.rows[train], table.rows[test]) for train, test in pairs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--penguins", metavar="FILE", help="palmerpenguins' csv file")
    parser.add_argument("--kinds", default="spline", help="of edges, with commas")
    parser.add_argument("--only", help="tables, with commas")
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--options", default="", help="further options of the command")
    options = parser.parse_args()
    logging.disable(logging.INFO)

    kinds = options.kinds.split(",")
    methods = {kind: own([f"layer={kind}", *options.options.split()]) for kind in kinds} | peers()
    print("| table | " + " | ".join(methods) + " | seconds, " + ", ".join(kinds) + " |")
    print("| --- |" + " --- |" * (len(methods) + 1), flush=True)
    for table in read_tables(options.penguins):
        if options.only and table.name not in options.only.split(","):
            continue
        losses: dict[str, list[Floats]] = {name: [] for name in methods}
        seconds: dict[str, list[float]] = {name: [] for name in methods}
        for seed, (train, test) in enumerate(splits(table, options.splits)):
            for name, predict in methods.items():
                began = time.perf_counter()
                with contextlib.redirect_stdout(None):
                    chances = predict(train, test, seed)
                seconds[name].append(time.perf_counter() - began)
                losses[name].append(-np.log(np.clip(chances, LEAST, None)))
        whole = {name: np.concatenate(parts) for name, parts in losses.items()}
        best = min(("logistic", "histgb"), key=lambda name: whole[name].mean())
        cells = []
        for name, values in whole.items():
            excess = values - whole[best]
            error = max(excess.std(ddof=1) / math.sqrt(len(excess)), 1e-300)
            shown = f" ({excess.mean() / error:+.1f})" if name in kinds else ""
            cells.append(f"{values.mean():.4f}{shown}")
        cells.append(", ".join(f"{np.median(seconds[kind]):.1f}" for kind in kinds))
        size = f"{len(table.rows)}x{table.rows.width - 1}"
        print(f"| {table.name} {size} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
