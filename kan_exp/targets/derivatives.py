"""Names of derivatives: `dxx` for the second by x, `d_temp_temp` for the second by temp."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from kan_exp.errors import KanExpError, listing


def read_derivative(name: Any, inputs: Sequence[str]) -> tuple[int, ...] | None:
    """The inputs by which a name such as `dxx` or `d_temp_temp` asks for a derivative, ascending.

    After the `d` come names of inputs, one for each order; `_` may stand between them.

    Returns:
        Places of the inputs; None if the name is no derivative by these inputs.

    Raises:
        KanExpError: It can be read in two ways.
    """
    if not isinstance(name, str) or not name.startswith("d") or len(name) == 1:
        return None
    found = {tuple(sorted(one)) for one in _readings(name[1:], tuple(inputs))}
    if len(found) > 1:
        ways = sorted("d_" + "_".join(inputs[k] for k in one) for one in found)
        raise KanExpError(f"{name} can mean {listing(ways)}: write the one that is meant.")
    return next(iter(found), None)


@cache
def _readings(text: str, inputs: tuple[str, ...]) -> tuple[tuple[int, ...], ...]:
    """All ways to read text as names, with `_` or nothing before each."""
    ways: list[tuple[int, ...]] = []
    for start in {text, text.removeprefix("_")}:
        for place, one in enumerate(inputs):
            if start.startswith(one):
                rest = start.removeprefix(one)
                ways += [(place, *w) for w in ([()] if not rest else _readings(rest, inputs))]
    return tuple(ways)
