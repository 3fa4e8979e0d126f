"""Speed and exactness of a trained [10,32,1] network outside of its training.

    python benchmarks/deployment.py [--rows 2000000] [--layer spline]

Rows a second of `kan_exp.predict` from Parquet to Parquet, microseconds of one row through the npz
evaluator and the C header, and how far each export is from the model on new rows.
"""

from __future__ import annotations

import argparse
import ctypes
import functools
import logging
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import torch
from omegaconf import OmegaConf

import kan_exp
from kan_exp.exporting.fresh import as_arrays, difference, fresh_rows
from kan_exp.exporting.kan_predict import Model
from kan_exp.exporting.tables import make_tables
from kan_exp.predict import predict
from kan_exp.train import prepare

NAMES = [f"x{k}" for k in range(10)]
REPEATS = 5
C = """#include "model.h"
void run(const double *x, int n, double *y) {
    for (int i = 0; i < n; ++i) model_predict((const model_row *)x + i, y + i);
}
"""


def table(rows: int, seed: int) -> pl.DataFrame:
    x = np.random.default_rng(seed).random((rows, 10)) * 2 - 1
    y = np.sin(3 * x[:, 0]) + x[:, 1] ** 2 + x[:, 2] * x[:, 3] + 0.5 * x[:, 4]
    return pl.DataFrame({**dict(zip(NAMES, x.T, strict=True)), "y": y})


def best(call: Callable[[], object], repeats: int = REPEATS) -> tuple[float, float]:
    """Least seconds on the clock and of the processor."""
    found = []
    for _ in range(repeats):
        clock, cpu = time.perf_counter(), time.process_time()
        call()
        found.append((time.perf_counter() - clock, time.process_time() - cpu))
    return min(one for one, _ in found), min(one for _, one in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--layer", default="spline")
    given = parser.parse_args()
    logging.disable(logging.INFO)
    folder = Path(tempfile.mkdtemp())
    table(3000, 0).write_parquet(folder / "train.parquet")
    words = ["data=table", f"data.path={folder / 'train.parquet'}", "data.target=y", "logger=none"]
    words += [
        f"layer={given.layer}",
        "dims=[10,32,1]",
        "optimizer=adam",
        "steps=1000",
        "~callbacks.figures",
    ]
    prepare(words, folder / "run").run()

    model = kan_exp.load(folder / "run")
    tables = make_tables(model)
    rows = fresh_rows(tables, torch.Generator().manual_seed(5), 2000)
    arrays, expected = as_arrays(tables, rows), model.predict(rows).double().numpy()
    say = functools.partial(print, end="", flush=True)
    say("| | |\n| --- | --- |\n")

    big = table(given.rows, 1).drop("y")
    big.write_parquet(folder / "big.parquet")
    options = {"run": folder / "run", "input": folder / "big.parquet", "separator": None}
    options |= {"output": folder / "out.parquet", "missing": "error", "modules": []}
    cfg = OmegaConf.create(
        {name: str(v) if isinstance(v, Path) else v for name, v in options.items()}
    )
    clock, cpu = best(lambda: predict(cfg), 3)
    say(f"| predict, million rows a second | {given.rows / clock / 1e6:.2f} |\n")
    say(f"| the same per second of one core | {given.rows / cpu / 1e6:.2f} |\n")

    for dtype in ("float32", "int16"):
        model.export(folder / "model.npz", dtype=dtype)
        loaded = Model(folder / "model.npz")
        one = {name: float(values[0]) for name, values in arrays.items()}
        _, cpu = best(lambda loaded=loaded, one=one: [loaded(one) for _ in range(1000)])
        bound = max(loaded.about["error_bound"])
        say(f"| npz, {dtype}: one row, us | {cpu * 1e3:.1f} |\n")
        say(f"| npz, {dtype}: error, and its bound | {difference(loaded(arrays), expected):.1e}, ")
        say(f"{bound:.1e} |\n")

    model.export(folder / "model.h")
    (folder / "run.c").write_text(C)
    command = ["cc", "-O3", "-march=native", "-shared", "-fPIC", "-o", "run.so", "run.c", "-lm"]
    subprocess.run(command, cwd=folder, check=True)
    run = ctypes.CDLL(str(folder / "run.so")).run
    x, y = np.ascontiguousarray(np.stack([*arrays.values()], 1)), np.zeros_like(expected)
    pointers = (ctypes.c_void_p(x.ctypes.data), len(x), ctypes.c_void_p(y.ctypes.data))
    _, cpu = best(lambda: run(*pointers), 200)
    say(f"| C: one row, us | {cpu / len(x) * 1e6:.2f} |\n")
    say(f"| C: error | {difference(y, expected):.1e} |\n")

    import onnxruntime

    model.export(folder / "model.onnx")
    alone = onnxruntime.SessionOptions()
    alone.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(folder / "model.onnx", alone)
    inputs = {name: values[:, None] for name, values in arrays.items()}
    (found,) = session.run(["y_predicted"], inputs)
    _, cpu = best(lambda: session.run(["y_predicted"], inputs), 50)
    say(f"| ONNX: batches of 2,000 rows, us a row | {cpu / len(x) * 1e6:.2f} |\n")
    say(f"| ONNX: error | {difference(found, expected):.1e} |\n")


if __name__ == "__main__":
    main()
