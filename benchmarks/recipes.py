# ruff: noqa: T201 - a benchmark's output is its purpose.
"""What `python -m kan_exp.train` reaches with the recipes of conf/, over ten draws of the data.

python benchmarks/recipes.py                        all rows
python benchmarks/recipes.py spline_2_1_1 --seeds 3 some rows, the seeds 0, 1, 2

Each seed draws its own starts and its own points (seed=N data.seed=N). One line per seed, then one
per row: the worst and the median test RMSE, the worst R2 of an edge where the true ones are known,
the median of the seconds of training, and what both should be. Seconds are those on the clock and,
behind them, those of the processor, which other programs disturb less. The reported test RMSE is
compared with that on 100,000 other points: the row has the largest deviation over the seeds.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from statistics import median
from typing import Any, NamedTuple

import torch

from kan_exp.train import prepare

OTHER_POINTS, OTHER_SEED = 100_000, 2**40  # a seed that no run draws its points from


class Row(NamedTuple):
    """Options of the command, and the largest error and time that will do."""

    options: str
    rmse: float
    aim: float
    seconds: float


ROWS = {
    "spline_2_1_1": Row("layer=spline dims=[2,1,1]", 2e-5, 1e-6, 3),
    "spline_2_5_1": Row("layer=spline dims=[2,5,1]", 1e-4, 1e-5, 5),
    "interpo_2_1_1": Row("layer=interpo dims=[2,1,1]", 1.5e-3, 1.3e-3, 3),
    "interpo_2_1_1_257": Row("layer=interpo layer.num_x=257 dims=[2,1,1]", 4e-4, 8e-5, 6),
    "interpo_2_5_1": Row("layer=interpo dims=[2,5,1]", 3e-3, 1e-3, 5),
    "mlp_2_1_1": Row("layer=mlp dims=[2,1,1]", 1e-3, 1e-4, 15),
    "mlp_2_5_1": Row("layer=mlp dims=[2,5,1]", 1e-3, 1e-4, 20),
    "deep_4_2_1_1": Row("experiment=deep_4_2_1_1", 4e-5, 4e-6, 30),
    "many_inputs_100_1_1": Row("experiment=many_inputs_100_1_1", 1e-3, 1e-4, 60),
}


class Result(NamedTuple):
    rmse: float
    seconds: float
    processor: float
    edges: float
    deviation: float
    how: str


def train(options: list[str]) -> Result:
    """One whole training, scored as the command scores it; no figures."""
    with tempfile.TemporaryDirectory() as folder:
        experiment = prepare([*options, "logger=none"], folder)
        before = time.process_time()
        result = experiment.fit()
        processor = time.process_time() - before
        metrics: dict[str, Any] = result.metrics
    target = experiment.data.target
    x = target.sample(OTHER_POINTS, torch.Generator().manual_seed(OTHER_SEED))
    other = (result.model.predict(x) - target(x)).double().square().mean().sqrt().item()
    edges = min(metrics["edge_r2"].values(), default=float("nan"))
    how = f"step {metrics['best_step']} of {metrics['steps']}, {metrics['stopped']}"
    reported = metrics["test_rmse"]
    return Result(reported, metrics["train_seconds"], processor, edges, reported / other - 1, how)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--threads", type=int, default=2)
    chosen = parser.parse_args()
    logging.disable(logging.INFO)
    for name in chosen.rows or ROWS:
        row, results = ROWS[name], []
        for seed in range(chosen.first, chosen.first + chosen.seeds):
            seeds = [f"seed={seed}", f"data.seed={seed}", f"threads={chosen.threads}"]
            results.append(train([*row.options.split(), *seeds]))
            one = results[-1]
            times = f"{one.seconds:.1f} s ({one.processor:.1f})"
            said = f"{one.rmse:.2e} ({one.deviation:+.0%} of other points' error)"
            print(f"  {name} {seed}: {said}, {times}, {one.how}", flush=True)
        errors = [one.rmse for one in results]
        print(
            f"{name}: worst {max(errors):.2g} (must {row.rmse:g}, aim {row.aim:g}), median "
            f"{median(errors):.2g}, {sum(e <= row.rmse for e in errors)} of {len(errors)} within; "
            f"edges' R2 at least {min(one.edges for one in results):.7f}; "
            f"off other points' error by {max(abs(one.deviation) for one in results):.0%} at most; "
            f"{median(one.seconds for one in results):.1f} s "
            f"({median(one.processor for one in results):.1f}) (must {row.seconds:g}) on "
            f"{torch.get_num_threads()} threads",
            flush=True,
        )


if __name__ == "__main__":
    main()
