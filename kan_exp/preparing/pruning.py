"""The pruning of a trained network, by the options of a configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kan_exp.config import RunConfig, choice
from kan_exp.models.loading import read_checkpoint
from kan_exp.preparing.components import make_partial
from kan_exp.preparing.modules import intervals_of, layer_specs
from kan_exp.preparing.networks import stages_of
from kan_exp.runs.lenient_json import read_object
from kan_exp.runs.results import read_metrics
from kan_exp.training.penalty_rules import ORDERS
from kan_exp.training.pruning import Pruning, Trained
from kan_exp.training.sparse_fit import Recipe


def make_pruning(config: RunConfig, train: Callable[..., Any]) -> Pruning | None:
    """The pruning of the trained network; None if it is not requested.

    `train` trains a network of given widths and masks anew, where the smoothness of edges is found
    from the data.
    """
    if config.prune is None:
        return None

    specs, refine = layer_specs(config), config.refine
    weights = asdict(config.penalty)
    weights["jerk"] = max(weights["jerk"], refine.jerk)
    optimizer = config.optimizer if config.uses_least_squares else choice("optimizer", "lm")
    run = config.pruning.run
    recipe = Recipe(
        stages_of(refine, intervals_of(specs)),
        make_partial("optimizer", optimizer),
        {ORDERS[name]: weight for name, weight in weights.items() if name in ORDERS and weight},
        refine.penalty_decay,
        refine.init_noise_std,
        refine.follow_every,
        config.seed,
    )
    return Pruning(
        specs,
        recipe,
        config.pruning.max_rise,
        config.pruning.seconds,
        None if run is None else _trained(Path(run)),
        train if config.smooths else None,
    )


def _trained(run: Path) -> Trained:
    """The network of a run, and what is known about its training."""
    checkpoint, metrics = read_checkpoint(run), read_metrics(run)
    about = {name: value for name, value in metrics.items() if name in ("steps", "stopped")}
    return Trained(checkpoint, about, read_object(run / "history.json") or {})
