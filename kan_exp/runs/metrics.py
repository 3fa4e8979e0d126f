"""The metrics of `metrics.json`: the one list of what they are called and where they are shown."""

from __future__ import annotations

from typing import NamedTuple


class Metric(NamedTuple):
    """A number in `metrics.json`.

    Args:
        name: Its key.
        title: How it is called where it is shown; its key if not given.
        higher_is_better: Of all others, less is better.
        per_seed: Whether seeds trained together have one each (`replicas.each`).
        in_sweeps: Whether it is a column of `sweep.csv`.
    """

    name: str
    title: str | None = None
    higher_is_better: bool = False
    per_seed: bool = True
    in_sweeps: bool = False


METRICS = (
    Metric("test_rmse", "test RMSE", in_sweeps=True),
    Metric("test_rmse_se", "standard error of the test RMSE", in_sweeps=True),
    Metric("test_max_error", "largest test error", in_sweeps=True),
    Metric("test_mae", "test MAE", in_sweeps=True),
    Metric("test_r2", "test R²", higher_is_better=True, in_sweeps=True),
    Metric("test_r", "test r", higher_is_better=True),
    Metric("val_rmse", "validation RMSE", in_sweeps=True),
    Metric("linear_rmse", "linear model's test RMSE", per_seed=False, in_sweeps=True),
    Metric("linear_r2", "linear model's test R²", higher_is_better=True, per_seed=False),
    Metric("parameters", per_seed=False, in_sweeps=True),
    Metric("steps", per_seed=False),
    Metric("best_step", in_sweeps=True),
    Metric("train_seconds"),
    Metric("devices", per_seed=False),
)
NUMBERS = tuple(metric.name for metric in METRICS)
HIGHER_IS_BETTER = tuple(metric.name for metric in METRICS if metric.higher_is_better)
SHARED = tuple(metric.name for metric in METRICS if not metric.per_seed)
SWEEP_COLUMNS = tuple(metric.name for metric in METRICS if metric.in_sweeps)
TITLES = {metric.name: metric.title for metric in METRICS if metric.title is not None}
STANDARD_ERRORS = {"test_rmse": "test_rmse_se"}
# The linear model's metric that a network's is compared with.
LINEAR = {"test_rmse": "linear_rmse", "test_r2": "linear_r2"}


def title(metric: str) -> str:
    """How a metric is called where it is shown."""
    return TITLES.get(metric, metric)
