"""Checks of the network and its training that need no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from kan_exp.config import Component, RefineConfig, RunConfig, RunContext
from kan_exp.errors import KanExpError
from kan_exp.layers.rules import KINDS, Kind, check_count, check_names
from kan_exp.preparing.widths import are_known, check_multiply, shown_dims
from kan_exp.runs import option_name
from kan_exp.runs.identity import group_name
from kan_exp.training.host_memory import check_grids_fit, check_network_fits
from kan_exp.training.penalty_rules import check_group, check_quadratic, check_smooth, check_weights
from kan_exp.training.stages import Stage, make_stages, multiplications

LAYERS = "kan_exp.layers"
# Of an edge's parameters, a pass keeps at least one number for so many.
BASIS_SHARE = 4
# Limit for least squares that the user has not asked for: about five minutes on one core.
MULTIPLICATIONS_PER_MINUTE = 4e11
MAX_WORK = 5 * MULTIPLICATIONS_PER_MINUTE
TABLE = KINDS["KANInterpoLayer"]

KnownLayer = tuple[Kind, Mapping[str, Any]]


def check_network(config: RunConfig, context: RunContext, points: int | None) -> None:
    """Checks layers, penalties and the stages of least squares."""
    if not are_known(config.dims):  # of a source that has not been made yet
        return
    layers, penalty = config.each_layer, asdict(config.penalty)
    check_count(len(layers), config.widths)
    check_multiply(config.multiply, config.widths)
    kinds = [_kind(layer) for layer in layers]
    for layer, kind in zip(layers, kinds, strict=True):
        if kind is not None:
            _check_layer(layer, kind)
    check_weights(penalty)
    if None not in kinds:
        check_smooth(penalty, TABLE in kinds)
        bases = [layer.options.get("base", "none") for layer in layers]
        has_grids = all(kind is not None and kind.grid is not None for kind in kinds)
        check_group(penalty, has_grids and set(bases) == {"none"})
    _check_fits(config, points)
    if not config.uses_least_squares:
        if config.steps is None:
            raise KanExpError("steps is needed: only optimizer=lm takes its steps from refine.")
        return
    prefix = "layer." if isinstance(config.layers, Component) else ""
    for layer in layers:
        if table_points := layer.options.get("table_points"):
            raise KanExpError(
                f"{prefix}table_points={table_points} does not go with optimizer=lm, whose "
                f"Jacobian is that of the edges themselves: set optimizer=adam, or "
                f"{prefix}table_points=0."
            )
    if config.smooths:
        for text in context.overrides:
            if group_name(text) in ("refine", "penalty"):
                raise KanExpError(
                    f"{text} has no effect with smoothing.method={config.smoothing.method}, which "
                    f"finds the weights of penalties itself: leave it out, or set "
                    f"smoothing.method=null"
                )
        return
    known = [_known(layer) for layer in layers]
    complete = [layer for layer in known if layer is not None]
    if len(complete) < len(known):
        return
    weighed = [name for name, weight in penalty.items() if weight > 0]
    check_quadratic(weighed, all(kind.grid is not None for kind, _ in complete))
    stages = stages_of(config.refine, [kind.count_intervals(options) for kind, options in complete])
    sizes = [_parameters(complete, config.widths, stage) for stage in stages]
    check_grids_fit(sizes, stages, penalized=bool(weighed))
    if points is not None:
        check_work(multiplications(sizes, stages, points), points, context)


def _kind(layer: Component) -> Kind | None:
    """The rules of a layer; None for a kind of the user's own, which is checked when made."""
    package, _, name = layer.target.rpartition(".")
    return KINDS.get(name) if package == LAYERS else None


def _known(layer: Component) -> KnownLayer | None:
    """A layer whose rules are known and whose options are all given.

    Layers of an older run may lack newer options, which take the constructor's defaults.
    """
    kind = _kind(layer)
    complete = kind is not None and kind.options.keys() <= layer.options.keys()
    return (kind, layer.options) if kind is not None and complete else None


def _check_layer(layer: Component, kind: Kind) -> None:
    owner = layer.target.rpartition(".")[2]
    check_names(owner, layer.options, kind.options)
    try:
        kind.check(owner, **layer.options)
    except ValueError as error:
        raise KanExpError(f"layer: {error}") from error


def _check_fits(config: RunConfig, points: int | None) -> None:
    """Refuses a network whose parameters, or whose pass over a batch, no memory here can hold."""
    weights = basis = 0
    for layer, (dim_in, dim_out) in zip(config.each_layer, pairwise(config.widths), strict=True):
        if (known := _known(layer)) is None:
            continue
        kind, options = known
        weights += kind.count(options, dim_in, dim_out)
        # Grids are looked up; other kinds compute about all of an edge's numbers for each point.
        if kind.grid is None and not options.get("table_points"):
            basis += dim_in * kind.parameters(options) // BASIS_SHARE
    batch = 1
    if not config.uses_least_squares:
        counts = [int(count) for count in (config.batch_size, points) if count is not None]
        batch = min(counts, default=1)
    check_network_fits(shown_dims(config.widths), weights, basis, batch)


def _parameters(layers: Sequence[KnownLayer], dims: Sequence[int], stage: Stage) -> int:
    """Trainable numbers of one network of a stage."""
    total = 0
    for (kind, options), (dim_in, dim_out) in zip(layers, pairwise(dims), strict=True):
        if stage.num_intervals is not None:
            options = kind.with_intervals(options, stage.num_intervals)
        total += kind.count(options, dim_in, dim_out)
    return total


def stages_of(refine: RefineConfig, intervals: Sequence[int | None]) -> list[Stage]:
    """The stages of least squares."""
    return make_stages(intervals, refine.grids, refine.num_candidates, refine.steps, refine.points)


def check_work(multiplications: float, points: int, context: RunContext) -> None:
    """Checks that least squares, if the user has not asked for them, would not take long."""
    chosen = any(option_name(text) == "optimizer" for text in context.overrides)
    default = bool(context.choices) and context.choices.get("experiment") is None and not chosen
    if default and multiplications > MAX_WORK:
        minutes = multiplications / MULTIPLICATIONS_PER_MINUTE
        raise KanExpError(
            f"{points:,} points are many for least squares on this network (about {minutes:,.0f} "
            f"minutes): set optimizer=adam, or optimizer=lm to take the time."
        )
