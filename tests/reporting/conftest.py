"""Run folders as a training leaves them, without the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

POINTS = "ab" * 32


def write_run(
    folder: Path,
    error: float | None = None,
    *,
    state: str = "done",
    seed: int = 0,
    typed: dict[str, Any] | None = None,
    more: dict[str, Any] | None = None,
    **status: Any,
) -> Path:
    """Writes one run: with a result if there is an error, and what `typed` says as choices."""
    folder.mkdir(parents=True)
    typed = {"layer": "mlp", **(typed or {}), "seed": seed}
    overrides = [f"{n}={v if isinstance(v, str) else json.dumps(v)}" for n, v in typed.items()]
    content = {"state": state, "reason": None, "overrides": overrides, "key": folder.name, **status}
    (folder / "status.json").write_text(json.dumps(content))
    if error is not None:
        options = {f"layer.only_{typed['layer']}": 1, "optimizer": "adam", "steps": 100}
        metrics = {"test_rmse": error, "test_r2": 1 - error, "parameters": 50, "train_seconds": 2.0}
        metrics |= {
            "device": "cpu",
            "stopped": "steps",
            "test_points": POINTS,
            "choices": {**options, **typed},
        }
        (folder / "metrics.json").write_text(json.dumps({**metrics, **(more or {})}))
    return folder
