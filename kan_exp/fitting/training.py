"""Trains on rows in memory: `kan_exp.fit`, and what the estimators do with it."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from kan_exp.errors import KanExpError
from kan_exp.fitting.rows import as_frame, make_table
from kan_exp.preparing.arrays import array_config

if TYPE_CHECKING:
    from kan_exp.data.table import Table
    from kan_exp.fitting.model import FittedModel

LAYER = "spline"  # which trains fastest, and follows what the data decide exactly


def train_table(
    table: Table,
    columns: Sequence[str],
    options: Mapping[str, Any],
    seed: int,
    task: Mapping[str, Any] | None = None,
    max_time: float | None = None,
    progress: bool = False,
) -> tuple[FittedModel, bool]:
    """Trains a network on a table; writes nothing.

    Args:
        table: See `make_table`.
        columns: Names of all columns of X.
        options: See `array_config` for this, `seed`, `task` and `progress`.
        max_time: Seconds after which the training ends with the best network so far.

    Returns:
        The best network, in float64, and whether Ctrl-C has ended the training early.

    Raises:
        KanExpError: The options are wrong or do not suit the table, or the training diverged.
    """
    if max_time is not None and not max_time > 0:
        raise KanExpError(f"max_time must be above 0 seconds, got {max_time!r}.")
    config, context = array_config(options, table, seed, task, progress)

    import torch

    from kan_exp.fitting.model import SAMPLE, FittedModel
    from kan_exp.preparing.experiment import make_experiment
    from kan_exp.training.callbacks import SignalStop

    if not progress and config.uses_least_squares:
        # The same result with fewer turns of the trainer's loop.
        evaluations = 1 if config.smooths else config.evaluations
        config = replace(config, log_every_n_steps=1000, evaluations=evaluations)
    stop = SignalStop(max_time)
    with _own_settings():
        experiment = make_experiment(config, None, context, stop=stop)
        with stop:
            diverged = experiment.train()
            if diverged is not None:
                raise KanExpError(f"the training diverged: {diverged}") from diverged
            if experiment.pruning is not None and stop.received is None:
                experiment.prune(experiment.pruning)
    if stop.received is signal.SIGTERM:
        sys.exit(128 + signal.SIGTERM)
    checkpoint = dict(experiment.best.checkpoint)
    x = experiment.data.train.x
    checkpoint["kan_exp"] |= {"columns": list(columns), "steps": experiment.trainer.global_step}
    checkpoint["sample"] = x[:: -(-len(x) // SAMPLE)].clone()
    checkpoint["residuals"] = experiment.left_out_errors()
    model = FittedModel.of(checkpoint)
    model.network.to(torch.float64)
    return model, stop.received is not None


@contextmanager
def _own_settings() -> Iterator[None]:
    """Restores torch's number of threads and the filters of warnings, which a training sets."""
    import torch

    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        torch.set_num_threads(threads)


def fit(
    X: Any,
    y: Any,
    *,
    weight: Any = None,
    missing: str = "error",
    seed: int = 0,
    max_time: float | None = None,
    progress: bool = True,
    **options: Any,
) -> FittedModel:
    """Trains a network: `kan_exp.fit(X, y, dims=..., layer=..., ...)`.

    Text, true and false, or few whole numbers as y are classes, as for the command. Ctrl-C ends the
    training, and the best network so far is returned. Nothing is written to disk.

    Args:
        X: Rows `(n, columns)`: a frame of pandas or polars with columns of any kind, a mapping of
            columns, an array, a tensor or lists.
        y: `(n,)`, or `(n, outputs)` numbers.
        weight: Of the rows, `(n,)`. A whole weight is a number of copies of the row.
        missing: What happens to gaps in X: `error`, `impute` (fill them in) or `drop` (leave out
            their rows).
        seed: Decides the start and which rows are for validation.
        max_time: Seconds after which the training ends with the best network so far.
        progress: Whether a progress bar is shown.
        options: Those of a training by their names in conf/, such as `dims=[3, 5, 1]`,
            `layer="interpo"`, `optimizer="adam"`, `task="count"`; `__` stands for a dot, as in
            `layer__num_intervals=16`. By default the data decide the widths, and `layer` is
            `spline` unless `layers` names a kind for each layer.

    Returns:
        The model on the CPU, in evaluation mode and frozen, see `kan_exp.load`.

    Raises:
        KanExpError: The rows or an option cannot be used; one line says why.

    Example:
        >>> import kan_exp, numpy as np
        >>> X = np.random.default_rng(0).uniform(-1, 1, (100, 2))
        >>> y = np.sin(3 * X[:, 0]) + X[:, 1] ** 2
        >>> model = kan_exp.fit(X, y, dims=["auto", "auto"], progress=False)
        >>> model.score(X, y) > 0.99
        True
    """
    x, outputs = as_frame(X, "x"), as_frame(y, "y")
    weights = None if weight is None else np.asarray(weight, np.float64).reshape(-1)
    named = named_options(options)
    classes = {"auto": None, "classification": True}.get(str(named.get("task", "auto")), False)
    table = make_table(x, outputs, weights, missing, classes)
    model, interrupted = train_table(table, x.columns, named, seed, None, max_time, progress)
    if interrupted:
        warnings.warn("interrupted: this is the best network so far", UserWarning, stacklevel=2)
    return model


def named_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords as options of conf/: a dot for `__`, null for dims="auto", and a kind of edges."""
    named = {name.replace("__", "."): value for name, value in options.items()}
    if named.get("layers") is None:
        named.setdefault("layer", LAYER)
    if isinstance(named.get("dims"), str) and named["dims"] == "auto":
        named["dims"] = None
    return named
