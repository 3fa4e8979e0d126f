"""Data that are no good still train, or are refused in a line; nothing comes out as NaN."""

import logging
import math

import numpy as np
import pytest

from kan_exp.errors import KanExpError
from kan_exp.train import prepare

FEW = ["refine.num_candidates=[4,1]", "refine.steps=[6,6]"]
SMALL = {
    "spline": [
        "layer=spline",
        "layer.num_intervals=8",
        "refine.num_candidates=[4,1]",
        "refine.steps=[6,6]",
    ],
    "interpo": [
        "layer=interpo",
        "layer.num_x=9",
        "refine.num_candidates=[4,1]",
        "refine.steps=[6,6]",
    ],
    "mlp": ["layer=mlp", "refine.num_candidates=[2,1]", "refine.steps=[5,5]"],
    "adam": ["layer=spline", "optimizer=adam", "steps=40", "gradient.batch_size=32"],
}


def points(rows: int = 60) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 2))
    return x, np.exp(np.sin(np.pi * x[:, 0]) + x[:, 1] ** 2)


def few():
    """Far fewer rows than parameters."""
    return points(16)


def repeated():
    """Every row five times."""
    return tuple(np.repeat(part[:12], 5, axis=0) for part in points())


def contradicting():
    """The same inputs with other values each time."""
    x, _ = points()
    return np.repeat(x[:12], 5, axis=0), np.random.default_rng(1).normal(size=60)


def far_value():
    x, y = points()
    y[7] = 1e12
    return x, y


def far_input():
    x, y = points()
    x[7, 0] = 1e12
    return x, y


def offset():
    """What varies is in digits that float32 does not have."""
    x, y = points()
    return x + 1e9, y - 1e9


def tiny():
    x, y = points()
    return 1e-20 * x, 1e-20 * y


HARD = [few, repeated, contradicting, far_value, far_input, offset, tiny]


def result(folder, x, y, options):
    lines = [",".join(map(repr, [*a, b])) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    (folder / "t.csv").write_text("\n".join(["a,b,y", *lines]))
    data = ["data=table", f"data.path={folder / 't.csv'}", "data.target=y", "dims=[2,2,1]"]
    experiment = prepare(
        [*data, *options, "logger=none", "~callbacks.figures", "evaluations=2"],
        folder / f"run {y.mean()}",
    )
    outcome = experiment.fit()
    assert outcome.diverged is None
    return outcome.metrics


@pytest.fixture(autouse=True)
def _quiet(caplog):
    caplog.set_level(logging.WARNING)


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("make", HARD, ids=lambda make: make.__name__)
def test_hard_data_train_to_finite_numbers(make, kind, tmp_path):
    x, y = make()
    found = result(tmp_path, x, y, SMALL[kind])
    for name in ("test_rmse", "val_rmse", "test_mae"):
        assert math.isfinite(found[name]), name
    # No worse than a hundred times the spread of what there is to learn.
    assert found["val_rmse"] < 100 * (y.max() - y.min())


@pytest.mark.parametrize("kind", ["spline", "interpo"])
def test_a_penalty_of_zero_needs_no_other_care(kind, tmp_path):
    x, y = points()
    found = result(tmp_path, x, y, [*SMALL[kind], "refine.jerk=0"])
    assert found["test_rmse"] < found["linear_rmse"]


@pytest.mark.parametrize("kind", SMALL)
def test_digits_behind_a_huge_offset_are_learned(kind, tmp_path):
    x, y = points(200)
    plain = result(tmp_path, x, y, SMALL[kind])
    moved = result(tmp_path, x + 2.0**30, y - 2.0**30, SMALL[kind])
    assert moved["test_rmse"] == pytest.approx(plain["test_rmse"], rel=0.2)


@pytest.mark.parametrize("kind", SMALL)
def test_constants_are_refused_in_a_line(kind, tmp_path):
    x, y = points()
    with pytest.raises(KanExpError, match="one value throughout in the target column 'y'"):
        result(tmp_path, x, 0 * y + 3, SMALL[kind])
