"""The widths of a network that `dims` leaves to the data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kan_exp.config import LINES, Component, RunConfig
from kan_exp.errors import KanExpError

MAX_WIDTH = 2**31  # of which a square is int64
AUTO = "auto"  # at an end of dims: the data's number of inputs or outputs


def shown_dims(dims: list[Any] | None) -> str:
    """The option as it is typed."""
    return "dims=null" if dims is None else f"dims=[{','.join(map(str, dims))}]"


def are_known(dims: list[Any] | None) -> bool:
    """Whether `dims` leaves nothing to the data."""
    return dims is not None and AUTO not in dims


def check_dims(dims: list[Any] | None) -> None:
    """Checks `dims` as it was given: at least two widths, all numbers above 0 or `auto`."""
    if dims is None:
        return
    shown = shown_dims(dims)
    for place, width in enumerate(dims):
        if width == AUTO and place not in (0, len(dims) - 1):
            raise KanExpError(
                f"{shown}: only the first and the last width can be auto: the data have no "
                f"width for a hidden layer. dims=null chooses all of them."
            )
        if width != AUTO and (isinstance(width, bool) or not isinstance(width, int)):
            got = "null" if width is None else str(width).replace(" ", "")
            raise KanExpError(f"dims[{place}]: must be a whole number, got {got}.")
    if len(dims) < 2:
        raise KanExpError(
            f"{shown}: a network needs at least an input and an output width: "
            f"set dims=[auto,5,auto]"
        )
    if any(width != AUTO and width < 1 for width in dims):
        raise KanExpError(f"{shown}: every width must be at least 1.")
    if any(width != AUTO and width >= MAX_WIDTH for width in dims):
        raise KanExpError(f"{shown}: every width must be below {MAX_WIDTH:,}.")


def check_multiply(multiply: list[int] | None, dims: list[int]) -> None:
    """Checks `multiply`: at most a number for each layer, none above its layer's width."""
    multiply, widths = multiply or [], dims[1:]
    shown = f"multiply=[{','.join(map(str, multiply))}]"
    if len(multiply) > len(widths):
        raise KanExpError(
            f"{shown} has {len(multiply)} numbers, but {shown_dims(dims)} has {len(widths)} "
            f"layers: give one number for each, or fewer."
        )
    for number, (products, width) in enumerate(zip(multiply, widths, strict=False), 1):
        if not 0 <= products <= width:
            raise KanExpError(
                f"{shown}: layer {number} of {shown_dims(dims)} has {width} outputs, so that 0 to "
                f"{width} of them can multiply, got {products}."
            )


def resolve_widths(config: RunConfig, inputs: int, outputs: int) -> None:
    """Replaces what `dims` leaves to the data, in place.

    Without `dims` the network has one hidden layer: of `2 * inputs + 1` units, as in Kolmogorov's
    theorem, or, where smoothness is found from the data, of a unit for each output's sum of curves
    and the additional hidden units, about which the data decide.
    """
    if config.dims is not None:
        ends = {0: inputs, len(config.dims) - 1: outputs}
        config.dims = [ends[k] if w == AUTO else w for k, w in enumerate(config.dims)]
        return
    layers = config.layers if isinstance(config.layers, list) else []
    if len(layers) > 2:
        raise KanExpError(
            f"layers names {len(layers)} kinds, which dims=null cannot know the widths of: set "
            f"dims=[auto,5,5,auto]"
        )
    smooths, layer = config.smooths, config.layers
    is_straight = isinstance(layer, Component) and layer.target == LINES
    if len(layers) == 1 or (smooths and is_straight):
        config.dims = [inputs, outputs]
        return
    width = outputs + config.smoothing.hidden if smooths else 2 * inputs + 1
    config.dims = [inputs, width, outputs]
    if smooths and not layers and config.smoothing.choose is None:
        config.smoothing = replace(config.smoothing, choose=True)
