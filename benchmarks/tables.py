# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Test errors on small noisy tables at default settings, relative to a linear model.

python benchmarks/tables.py                                  scikit-learn's own tables, spline edges
python benchmarks/tables.py --tables FOLDER                  the csv files of a folder
python benchmarks/tables.py --kinds all --splits 2           every kind of edges, quickly
python benchmarks/tables.py --only mtcars,cars --no-peers    some tables, without other methods

Each split trains on 85% of the rows and tests on the others. Networks keep some of the training
rows for validation; peers train on all of them. Errors are root mean squared, divided by that of
LinearRegression on the same rows: the median over splits (five, on tables below 60 rows twenty).
"worst" is the largest of these medians; in brackets is the difference of squared errors from the
linear model in paired standard errors over all test rows: above 2 the method is worse. Tables of
more than 1,500 training rows are cut to these for the Gaussian process only, which is left out.
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

TARGETS = {
    "mtcars": "mpg",
    "airquality": "Ozone",
    "penguins": "body_mass_g",
    "cars": "Miles_per_Gallon",
    "housing": "price",
    "seattle": "temp_max",
    "diabetes": "target",
    "diamonds": "price",
}
KINDS = ("spline", "interpo", "mlp", "chebyshev", "fourier", "rbf", "rational", "wavelet", "linear")
TEST, SMALL = 0.15, 60
VALIDATION = 0.15 / 0.85  # of the rows that are not tested: the same share as by default
MOST_GP = 1_500


class Table(NamedTuple):
    name: str
    x: Floats
    y: Floats


def read_tables(folder: str | None) -> list[Table]:
    """The tables of a folder whose target is known, or scikit-learn's own."""
    if folder is not None:
        return [read_table(Path(folder) / f"{name}.csv", name) for name in TARGETS]
    from sklearn.datasets import load_diabetes, load_linnerud, make_friedman1

    x, y = load_diabetes(return_X_y=True)
    linnerud = load_linnerud()
    noisy = make_friedman1(500, noise=1.0, random_state=0)
    return [
        Table("diabetes", x, y),
        Table("linnerud", linnerud.data, linnerud.target[:, 0]),
        Table("friedman1", *noisy),
    ]


def read_table(path: Path, name: str) -> Table:
    columns = pl.read_csv(path)
    target = TARGETS[name]
    return Table(
        name,
        columns.drop(target).to_numpy().astype(np.float64),
        columns[target].to_numpy().astype(np.float64),
    )


def train_and_test(table: Table, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    order = np.random.default_rng(seed).permutation(len(table.y))
    first = round((1 - TEST) * len(order))
    return order[:first], order[first:]


def own(options: list[str]) -> Callable[[Table, NDArray[Any], NDArray[Any], int], Floats]:
    """A network as the command trains it, from a file with the training rows alone."""

    def predict(table: Table, train: NDArray[Any], test: NDArray[Any], seed: int) -> Floats:
        names = [f"x{column}" for column in range(table.x.shape[1])]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "table.csv")
            rows = np.column_stack([table.x[train], table.y[train]])
            pl.DataFrame(rows, schema=[*names, "y"]).write_csv(path)
            # The command needs some test rows: one, or as many as a share that small leaves.
            few = max(1.0, 0.01 * len(train)) / len(train)
            fractions = [1 - VALIDATION - few, VALIDATION, few]
            shown = ",".join(f"{share:.6f}" for share in fractions[:2])
            last = 1 - sum(float(f"{share:.6f}") for share in fractions[:2])
            given = [
                "data=table",
                f"data.path='{path}'",
                "data.target=y",
                f"data.fractions=[{shown},{last:.6f}]",
                f"data.seed={seed}",
                f"seed={seed}",
                "logger=none",
            ]
            experiment = prepare([*given, *options], Path(folder, "run"))
            result = experiment.fit()
            return result.model.predict(table.x[test]).double().numpy()[:, 0]

    return predict


def peers() -> dict[str, Callable[[Table, NDArray[Any], NDArray[Any], int], Floats]]:
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
    from sklearn.linear_model import RidgeCV
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def scaled(model: Any) -> Any:
        pipeline = make_pipeline(StandardScaler(), model)
        return TransformedTargetRegressor(pipeline, transformer=StandardScaler())

    def fitted(make: Callable[[int, int], Any]) -> Any:
        def predict(table: Table, train: NDArray[Any], test: NDArray[Any], seed: int) -> Floats:
            with warnings.catch_warnings(action="ignore"):
                model = make(seed, table.x.shape[1]).fit(table.x[train], table.y[train])
                return np.asarray(model.predict(table.x[test]), dtype=np.float64)

        return predict

    def process(seed: int, width: int) -> Any:
        kernel = ConstantKernel() * RBF(np.ones(width)) + WhiteKernel()
        return scaled(GaussianProcessRegressor(kernel, random_state=seed))

    return {
        "ridge": fitted(lambda *_: scaled(RidgeCV(np.logspace(-3, 3, 25)))),
        "histgb": fitted(lambda seed, _: HistGradientBoostingRegressor(random_state=seed)),
        "forest": fitted(lambda seed, _: RandomForestRegressor(random_state=seed)),
        "mlp (sklearn)": fitted(
            lambda seed, _: scaled(MLPRegressor(max_iter=1000, random_state=seed))
        ),
        "gp": fitted(process),
    }


class Score(NamedTuple):
    ratios: list[float]
    excess: list[Floats]  # of the squared errors of each test row, over the linear model's
    seconds: list[float]

    def shown(self) -> str:
        excess = np.concatenate(self.excess)
        error = excess.std(ddof=1) / math.sqrt(len(excess))
        return f"{np.median(self.ratios):.3f} ({excess.mean() / max(error, 1e-300):+.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--tables", metavar="FOLDER", help="csv files; known: " + ", ".join(TARGETS)
    )
    parser.add_argument("--kinds", default="spline", help="of edges, with commas; all for all")
    parser.add_argument("--only", help="tables, with commas")
    parser.add_argument("--splits", type=int, default=5, help="four times as many below 60 rows")
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--options", default="", help="further options of the command")
    chosen = parser.parse_args()
    logging.disable(logging.INFO)

    from sklearn.linear_model import LinearRegression

    kinds = KINDS if chosen.kinds == "all" else chosen.kinds.split(",") if chosen.kinds else []
    methods = {kind: own([f"layer={kind}", *chosen.options.split()]) for kind in kinds}
    if not chosen.no_peers:
        methods |= peers()
    tables = read_tables(chosen.tables)
    if chosen.only:
        tables = [table for table in tables if table.name in chosen.only.split(",")]
    medians: dict[str, list[float]] = {name: [] for name in methods}
    print("| table | " + " | ".join(methods) + " |")
    print("| --- |" + " --- |" * len(methods), flush=True)
    times: dict[str, list[float]] = {name: [] for name in methods}
    for table in tables:
        splits = chosen.splits * (4 if len(table.y) < SMALL else 1)
        scores = {name: Score([], [], []) for name in methods}
        for seed in range(splits):
            train, test = train_and_test(table, seed)
            model = LinearRegression().fit(table.x[train], table.y[train])
            linear = np.square(model.predict(table.x[test]) - table.y[test])
            for name, predict in methods.items():
                if name == "gp" and len(train) > MOST_GP:
                    continue
                began = time.perf_counter()
                with contextlib.redirect_stdout(None):
                    predicted = predict(table, train, test, seed)
                scores[name].seconds.append(time.perf_counter() - began)
                squares = np.square(predicted - table.y[test])
                scores[name].ratios.append(math.sqrt(squares.mean() / linear.mean()))
                scores[name].excess.append(squares - linear)
        cells = []
        for name, score in scores.items():
            if not score.ratios:
                cells.append("")
                continue
            cells.append(score.shown())
            medians[name].append(float(np.median(score.ratios)))
            times[name] += score.seconds
        size = f"{len(table.y)}x{table.x.shape[1]}"
        print(f"| {table.name} {size} | " + " | ".join(cells) + " |", flush=True)
    summaries: dict[str, Callable[[Floats], float]] = {
        "median": lambda values: float(np.median(values)),
        "worst": lambda values: float(np.max(values)),
        "geometric mean": lambda values: float(np.exp(np.log(values).mean())),
    }
    for title, summary in summaries.items():
        shown = [
            f"{summary(np.array(values)):.3f}" if values else "" for values in medians.values()
        ]
        print(f"| {title} | " + " | ".join(shown) + " |")
    shown = [f"{np.median(values):.1f}" if values else "" for values in times.values()]
    print("| seconds a fit, with its preparation | " + " | ".join(shown) + " |")


if __name__ == "__main__":
    main()
