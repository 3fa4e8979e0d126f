# ruff: noqa: T201 - a benchmark's output is its purpose.
"""From a large CSV file to a trained network: seconds and memory of the whole command.

    python benchmarks/large_tables.py --rows 1000000 --columns 10 -- layer=spline

What follows `--` are further options of kan_exp.train. The table has uniform inputs and a smooth
output with noise of a tenth of its deviation, which the best RMSE therefore is.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

NOISE = 0.1
THREADS = 2


def write(path: Path, rows: int, columns: int) -> None:
    """Writes the table, by its extension as CSV or Parquet."""
    draw = np.random.default_rng(0)
    x = draw.uniform(-1, 1, (rows, columns))
    y = np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2 - x[:, 2] + 0.5 * x[:, 3 % columns]
    y += NOISE * y.std() * draw.normal(size=rows)
    frame = pl.DataFrame({**{f"x{k + 1}": x[:, k] for k in range(columns)}, "y": y})
    if path.suffix == ".csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    print(
        f"{path}: {rows:,} rows, {path.stat().st_size / 1e6:,.0f} MB; noise {NOISE * y.std():.3g}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--file", type=Path, help="of the table, kept; else in a temporary folder")
    parser.add_argument("--stream", action="store_true", help="data=stream instead of data=table")
    parser.add_argument("options", nargs="*")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        path = (arguments.file or Path(place) / "large.csv").resolve()
        if not path.exists():
            write(path, arguments.rows, arguments.columns)
        source = "stream" if arguments.stream else "table"
        command = [
            *(sys.executable, "-m", "kan_exp.train", f"data={source}", f"data.path={path}"),
            *("data.target=y", f"dims=[{arguments.columns},5,1]", f"hydra.run.dir={place}/run"),
            *arguments.options,
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS)}
        environment |= {"POLARS_MAX_THREADS": str(THREADS)}
        start = time.perf_counter()
        subprocess.run(command, check=True, env=environment, cwd=place)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
        metrics = json.loads((Path(place) / "run" / "metrics.json").read_text())
    print(f"{seconds:.1f} s, of which training {metrics['train_seconds']:.1f} s")
    print(f"peak memory {peak:.2f} GB; test RMSE {metrics['test_rmse']:.4g}")


if __name__ == "__main__":
    main()
