"""Draws error against the number of cells: `python scripts/scaling.py`.

Trains [2,1,1] networks on exp(sin(pi x) + y^2) through grids from coarse to fine, notes the test
error at the end of each grid, and draws it beside what approximation theory allows (tables G^-2,
cubic splines G^-4) and beside what pykan's documentation reports.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch.callbacks import LambdaCallback

from kan_exp.layers import GridLayer
from kan_exp.plots.style import LEARNED, TRUE, log_scale, new_figure, tidy
from kan_exp.tasks.metrics import METRICS
from kan_exp.train import prepare

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "images" / "scaling.png"
GRIDS = (4, 8, 16, 32, 64, 128, 256)
POINTS = 10_000  # some forty for each cell of the finest grid: the grid limits, not the data
MAX_RISE = 2
# The test errors of pykan's example "Function Fitting": [2,1,1], 1,000 points, 200 steps a grid.
PYKAN = {3: 1.53e-2, 10: 3.29e-4, 20: 4.04e-5, 50: 1.24e-5, 100: 1.74e-3}

log = logging.getLogger("scaling")


class Kind(NamedTuple):
    """A kind of edges: its config, how it is drawn, by which power its error should fall."""

    layer: str
    name: str
    colour: str
    power: int


KINDS = (
    Kind("interpo", "tables", LEARNED, 2),
    Kind("spline", "cubic splines", TRUE, 4),
)


def errors(layer: str, seed: int, points: int) -> dict[int, float]:
    """Test RMSE at the end of each grid, on data of this seed."""
    found: dict[int, float] = {}
    options = [f"layer={layer}", "dims=[2,1,1]", f"seed={seed}", f"data.seed={seed}"]
    options += [f"points={points}", f"refine.grids=[{','.join(map(str, GRIDS))}]"]
    options += ["logger=none", "~callbacks.progress"]
    with tempfile.TemporaryDirectory() as folder:
        experiment = prepare(options, folder)

        def look(trainer: Any, module: Any, *rest: Any) -> None:
            first = module.model.network[0]
            assert isinstance(first, GridLayer)
            test = experiment.data.test
            predicted = module.model.predict(test.x).double()
            found[first.num_intervals] = METRICS["rmse"].value(predicted, test.y.double()).item()

        callbacks: list[Any] = experiment.trainer.callbacks  # type: ignore[attr-defined]
        callbacks.append(LambdaCallback(on_train_batch_end=look))
        experiment.trainer.fit(experiment.module, datamodule=experiment.data)
    return found


def falls(found: dict[int, float]) -> dict[int, float]:
    """By which power of the number of cells the error has fallen since the grid before."""
    return {
        fine: math.log(found[coarse] / found[fine]) / math.log(fine / coarse)
        for coarse, fine in itertools.pairwise(GRIDS)
    }


def rise(found: dict[int, float]) -> float:
    """How many times the least error of coarser grids a grid's error is, at most."""
    errors = [found[grid] for grid in GRIDS]
    return max(late / min(errors[: n + 1]) for n, late in enumerate(errors))


def print_table(runs: dict[str, list[dict[int, float]]]) -> None:
    heads = " | ".join(f"{kind.name}: test RMSE | falls like" for kind in KINDS)
    lines = [f"| cells | {heads} | pykan's documentation |"]
    lines.append("| --- |" + " --- | --- |" * len(KINDS) + " --- |")
    middles = {name: middle(each) for name, each in runs.items()}
    for grid in sorted({*GRIDS, *PYKAN}):
        cells = []
        for kind in KINDS:
            each = [run[grid] for run in runs[kind.layer] if grid in run]
            if not each:
                cells += ["", ""]
                continue
            power = falls(middles[kind.layer]).get(grid)
            cells.append(f"{median(each):.2g} ({min(each):.2g} to {max(each):.2g})")
            cells.append("" if power is None else f"G^{-power:.1f}")
        cells.append(f"{PYKAN[grid]:.3g}" if grid in PYKAN else "")
        lines.append(f"| {grid} | {' | '.join(cells)} |")
    log.info("%s\n", "\n".join(lines))
    for kind in KINDS:
        worst = max(rise(run) for run in runs[kind.layer])
        verdict = "met" if worst <= MAX_RISE else "MISSED"
        log.info(
            "%s: of all seeds the largest rise is %.2f times, at most %d: %s",
            *(kind.name, worst, MAX_RISE, verdict),
        )


def middle(runs: list[dict[int, float]]) -> dict[int, float]:
    return {grid: median(run[grid] for run in runs) for grid in GRIDS}


def draw(runs: dict[str, list[dict[int, float]]], points: int, file: Path) -> None:
    figure = new_figure(6.4, 4.6)
    axes = figure.subplots()
    tidy(axes, grid=True)
    for kind in KINDS:
        found = middle(runs[kind.layer])
        values = [found[grid] for grid in GRIDS]
        axes.plot(GRIDS, values, color=kind.colour, marker="o", markersize=4, label=kind.name)
        each = [[run[grid] for run in runs[kind.layer]] for grid in GRIDS]
        low, high = zip(*((min(one), max(one)) for one in each), strict=True)
        axes.fill_between(GRIDS, low, high, color=kind.colour, alpha=0.2, linewidth=0)
        anchor = GRIDS[2]
        theory = [found[anchor] * (grid / anchor) ** -kind.power for grid in GRIDS]
        label = f"theory, G^-{kind.power}"
        axes.plot(GRIDS, theory, color=kind.colour, linestyle=":", linewidth=1, label=label)
    pykan = {"color": "#5b6570", "marker": "s", "markersize": 4, "linestyle": "--", "linewidth": 1}
    axes.plot(*zip(*PYKAN.items(), strict=True), **pykan, label="pykan's documentation")
    for which, line in (("x", np.array(GRIDS)), ("y", np.array(theory))):
        log_scale(axes, which, line)
    axes.set_xticks(sorted({*GRIDS, 100}), [str(grid) for grid in sorted({*GRIDS, 100})])
    axes.minorticks_off()
    axes.set_xlabel("cells per edge, G", fontsize=9)
    axes.set_ylabel("test RMSE", fontsize=9)
    seeds = len(runs[KINDS[0].layer])
    which = f"median and range of {seeds} seeds" if seeds > 1 else "one seed"
    title = f"exp(sin(pi x) + y²), [2,1,1], {points:,} points, {which}"
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8, frameon=False)
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--points", type=int, default=POINTS)
    parser.add_argument("--output", type=Path, default=PICTURE, metavar="FILE.png")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    runs = {
        kind.layer: [errors(kind.layer, seed, options.points) for seed in range(options.seeds)]
        for kind in KINDS
    }
    print_table(runs)
    draw(runs, options.points, options.output)
    log.info("wrote %s", options.output)


if __name__ == "__main__":
    main()
