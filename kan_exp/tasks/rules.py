"""Checks of the options of tasks."""

from __future__ import annotations

from kan_exp.errors import KanExpError

MAX = 1e300  # infinity and its neighbors are no sensible options


def check_number(
    name: str, value: object, *, above: float | None = None, at_least: float | None = None
) -> float:
    """An option that is a number within limits.

    Raises:
        KanExpError: It is not.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        low = above is None or value > above
        if low and (at_least is None or value >= at_least) and value < MAX:
            return float(value)
    limit = f"above {above:g}" if above is not None else f"of at least {at_least:g}"
    raise KanExpError(f"{name} must be a number {limit}, got {value!r}.")
