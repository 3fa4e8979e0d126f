"""Which penalties go with which layers and optimizers; no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kan_exp.errors import KanExpError, listing

ORDERS = {"roughness": 1, "curvature": 2, "jerk": 3}  # of the derivatives that penalties weigh
PENALTIES = (*ORDERS, "smooth", "group", "l1_edges", "l1_outputs")


def check_weights(penalty: Mapping[str, float]) -> None:
    """Raises a `KanExpError` if a penalty is unknown, or its weight negative or not finite."""
    for name, weight in penalty.items():
        if name not in PENALTIES:
            raise KanExpError(f"penalty.{name}: there is none. There are: {listing(PENALTIES)}.")
        if not 0 <= weight < float("inf"):
            raise KanExpError(f"penalty.{name} must be at least 0, got {weight}.")


def check_smooth(penalty: Mapping[str, float], tables: bool) -> None:
    """Raises a `KanExpError` if `penalty.smooth` has a weight and no layer has `tables`."""
    if penalty.get("smooth", 0) > 0 and not tables:
        raise KanExpError(
            "penalty.smooth: only interpolation layers have it: set penalty.roughness=..."
        )


def check_group(penalty: Mapping[str, float], splines: bool) -> None:
    """Raises a `KanExpError` if `penalty.group` has a weight and not all edges are `splines`."""
    if penalty.get("group", 0) > 0 and not splines:
        raise KanExpError(
            "penalty.group: only layer=interpo, and spline with layer.base=none, have it: "
            "set penalty.group=0; other edges have penalty.l1_edges with optimizer=adam."
        )


def check_quadratic(names: Iterable[str], grids: bool) -> None:
    """Raises a `KanExpError` if least squares cannot take a penalty of these names.

    `grids` says whether all layers are splines on grids.
    """
    for name in names:
        if name not in (*ORDERS, "group") or not grids:
            raise KanExpError(
                f"penalty.{name} does not go with optimizer=lm, which takes roughness, "
                f"curvature, jerk and group of layer=interpo or spline: set penalty.{name}=0."
            )
