"""What the figures in `metrics.json` are called, and which way they are better."""

from __future__ import annotations

NUMBERS = (
    "test_rmse",
    "test_mae",
    "test_r2",
    "test_r",
    "val_rmse",
    "linear_rmse",
    "linear_r2",
    "parameters",
    "steps",
    "best_step",
    "train_seconds",
    "devices",
)
HIGHER_IS_BETTER = ("test_r2", "test_r", "linear_r2")
TITLES = {
    "test_rmse": "test RMSE",
    "test_mae": "test MAE",
    "test_r2": "test R²",
    "test_r": "test r",
    "val_rmse": "validation RMSE",
}


def title(metric: str) -> str:
    """How a metric is called where it is shown."""
    return TITLES.get(metric, metric)
