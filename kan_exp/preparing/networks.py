"""Checks of the network and its training that need no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import as_typed
from kan_exp.config import uses_least_squares
from kan_exp.errors import KanExpError
from kan_exp.layers.rules import KINDS, Kind, check_count, check_names
from kan_exp.preparing.layers import LayerChoice, layer_choices
from kan_exp.runs import option_name
from kan_exp.training.host_memory import check_grids_fit, check_network_fits
from kan_exp.training.penalty_rules import check_quadratic, check_smooth, check_weights
from kan_exp.training.stages import Stage, make_stages, multiplications

LAYERS = "kan_exp.layers."
# Limit for least squares that the user has not asked for: about five minutes on one core.
# Of an edge's parameters, a pass keeps at least one number for so many.
BASIS_SHARE = 4
MULTIPLICATIONS_PER_MINUTE = 4e11
MAX_WORK = 5 * MULTIPLICATIONS_PER_MINUTE
TABLE = KINDS["KANInterpoLayer"]


def known_kind(choice: LayerChoice) -> Kind | None:
    """The rules of a layer; `None` for a kind of the user's own, which is checked when made."""
    return KINDS.get(choice.path.removeprefix(LAYERS)) if choice.path.startswith(LAYERS) else None


def check_network(cfg: DictConfig, points: int | None) -> None:
    """Checks layers, penalties and the stages of least squares.

    Args:
        cfg: The configuration.
        points: Training points, where their number is known.

    Raises:
        KanExpError: An option is unknown, out of range, or does not go with another.
    """
    choices, dims = layer_choices(cfg), list(cfg.dims)
    check_count(len(choices), dims)
    for choice in choices:
        _check_layer(choice)
    kinds = [known_kind(choice) for choice in choices]
    penalty: dict[str, float] = OmegaConf.to_container(cfg.penalty, resolve=True)  # type: ignore[assignment]
    check_weights(penalty)
    if None not in kinds:
        check_smooth(penalty, TABLE in kinds)
    _check_fits(cfg, choices, points)
    if not uses_least_squares(cfg):
        if cfg.steps is None:
            raise KanExpError("steps is needed: only optimizer=lm takes its steps from refine.")
        return
    for choice in choices:
        _check_tabled(choice, "layer." if cfg.layers is None else "")
    # Layers of an older run may lack newer options, which take the constructor's defaults.
    layers = [
        (kind, choice.options)
        for kind, choice in zip(kinds, choices, strict=True)
        if kind is not None and kind.options.keys() <= choice.options.keys()
    ]
    if len(layers) < len(choices):
        return
    weighed = [name for name, weight in penalty.items() if weight > 0]
    check_quadratic(weighed, all(kind.grid is not None for kind, _ in layers))
    stages = stages_of(cfg, [kind.count_intervals(options) for kind, options in layers])
    sizes = [_parameters(layers, dims, stage) for stage in stages]
    check_grids_fit(sizes, stages, penalized=bool(weighed))
    if points is not None:
        check_work(multiplications(sizes, stages, points), points)


def _check_layer(choice: LayerChoice) -> None:
    kind = known_kind(choice)
    if kind is None:
        return
    owner = choice.path.removeprefix(LAYERS)
    check_names(owner, choice.options, kind.options)
    try:
        kind.check(owner, **choice.options)
    except ValueError as error:
        raise KanExpError(f"layer: {error}") from error


def _check_fits(cfg: DictConfig, choices: Sequence[LayerChoice], points: int | None) -> None:
    """Refuses a network whose parameters, or whose pass over a batch, no memory here can hold."""
    weights = basis = 0
    for choice, (dim_in, dim_out) in zip(choices, pairwise(cfg.dims), strict=True):
        kind, options = known_kind(choice), choice.options
        if kind is None or not kind.options.keys() <= options.keys():
            continue
        weights += kind.count(options, dim_in, dim_out)
        # Grids are looked up; other kinds compute about all of an edge's numbers for each point.
        if kind.grid is None and not options.get("table_points"):
            basis += dim_in * kind.parameters(options) // BASIS_SHARE
    batch = 1
    if not uses_least_squares(cfg):
        known = [int(count) for count in (cfg.batch_size, points) if count is not None]
        batch = min(known, default=1)
    shown = ",".join(map(str, cfg.dims))
    check_network_fits(f"dims=[{shown}]", weights, basis, batch)


def _check_tabled(choice: LayerChoice, prefix: str) -> None:
    """Refuses tables in the place of edges, which would not belong to the exact Jacobian."""
    if points := choice.options.get("table_points"):
        raise KanExpError(
            f"{prefix}table_points={points} does not go with optimizer=lm, whose Jacobian is that "
            f"of the edges themselves: set optimizer=adam, or {prefix}table_points=0."
        )


def _parameters(
    layers: Sequence[tuple[Kind, Mapping[str, Any]]], dims: Sequence[int], stage: Stage
) -> int:
    """Trainable numbers of one network of a stage."""
    total = 0
    for (kind, options), (dim_in, dim_out) in zip(layers, pairwise(dims), strict=True):
        if stage.num_intervals is not None:
            options = kind.with_intervals(options, stage.num_intervals)
        total += kind.count(options, dim_in, dim_out)
    return total


def stages_of(cfg: DictConfig, cells: Sequence[int | None]) -> list[Stage]:
    """The stages of least squares.

    Args:
        cfg: The configuration.
        cells: Cells per edge of each layer, `None` for layers without a grid.

    Raises:
        KanExpError: `refine` is out of range.
    """
    refine: dict[str, Any] = OmegaConf.to_container(cfg.refine, resolve=True)  # type: ignore[assignment]
    return make_stages(
        cells, *(refine[name] for name in ("grids", "num_candidates", "steps", "points"))
    )


def check_work(multiplications: float, points: int) -> None:
    """Checks that least squares, if the user has not asked for them, would not take long.

    Raises:
        KanExpError: They would; the message says how long.
    """
    hydra = HydraConfig.get()
    asked = any(option_name(text) == "optimizer" for text in as_typed(hydra.overrides.task))
    if asked or hydra.runtime.choices.get("experiment") is not None:
        return
    if multiplications > MAX_WORK:
        minutes = multiplications / MULTIPLICATIONS_PER_MINUTE
        raise KanExpError(
            f"{points:,} points are many for least squares on this network (about {minutes:,.0f} "
            f"minutes): set optimizer=adam, or optimizer=lm to take the time."
        )
