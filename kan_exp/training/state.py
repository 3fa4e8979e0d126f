"""The whole state of a training, from which it resumes bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger

from kan_exp.data import ExperimentData
from kan_exp.errors import KanExpError, message_of
from kan_exp.lazy import polars as pl
from kan_exp.models.loading import read_checkpoint_file
from kan_exp.runs import write_text
from kan_exp.training.module import KANModule
from kan_exp.training.tensorboard import RunLogger


def whole_state(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """The state of a training between two chunks, in plain containers and tensors."""
    data = cast(ExperimentData, cast(Any, trainer).datamodule)
    step = trainer.global_step
    state: dict[str, Any] = {
        "global_step": step,
        "state_dict": dict(module.state_dict()),
        "progress": cast(KANModule, module).training_state(),
        "callbacks": {c.state_key: c.state_dict() for c in _callbacks(trainer) if c.state_dict()},
        "data": {"fingerprint": data.training_fingerprint, "position": data.position(step)},
    }
    module.on_save_checkpoint(state)
    return state


def read_state(path: Path) -> dict[str, Any]:
    """Reads a checkpoint that holds a whole state.

    Raises:
        KanExpError: It cannot be read, or holds a network only.
    """
    state = read_checkpoint_file(path)
    if missing := {"progress", "callbacks", "data", "kept"} - state.keys():
        raise KanExpError(
            f"{path}: holds a network, but not the state of its training "
            f"({', '.join(sorted(missing))}): repeat the run with --from."
        )
    return state


def restore(
    state: Mapping[str, Any], trainer: Trainer, module: KANModule, data: ExperimentData
) -> None:
    """Restores the state of a training in parts that were made from the same configuration.

    The data are planned already.

    Raises:
        KanExpError: The training points are others, or the state does not fit the configuration.
    """
    if state["data"]["fingerprint"] != data.training_fingerprint:
        raise KanExpError(
            "its training points have changed, so it cannot be resumed: repeat it with --from."
        )
    step = state["global_step"]
    try:
        module.restore(state)
        module.configure_optimizers()  # raises if its state does not fit
        if state["data"]["position"] is not None:
            data.restore(state["data"]["position"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise KanExpError(
            f"its checkpoint does not fit its configuration: {message_of(error)}"
        ) from error
    for callback in _callbacks(trainer):
        if callback.state_key in state["callbacks"]:
            callback.load_state_dict(state["callbacks"][callback.state_key])
    # The loop counts steps from here; its epochs have no effect.
    steps = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
    steps.ready = steps.completed = step
    for logger in trainer.loggers:
        if isinstance(logger, RunLogger):
            logger.restore(step)
        elif isinstance(logger, CSVLogger):
            _cut(logger, step)


def _callbacks(trainer: Trainer) -> list[Any]:
    return list(cast(Any, trainer).callbacks)


def _cut(logger: CSVLogger, step: int) -> None:
    """Removes the rows after a step from the logger's file."""
    path = Path(logger.log_dir) / "metrics.csv"
    if not path.is_file() or not path.stat().st_size:
        return
    rows = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=True)
    number = pl.col("step").cast(pl.Int64, strict=False)  # the last row may be cut
    inner = logger.experiment  # which removes the file when it is first used
    write_text(path, rows.filter(number <= step).write_csv())
    inner.metrics_keys = rows.columns  # otherwise it would start with new columns
