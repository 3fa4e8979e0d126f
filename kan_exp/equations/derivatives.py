"""Derivatives of functions that are known, such as exact solutions and features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Key = tuple[int, ...]  # the places of the inputs by which a derivative is taken, ascending


def derivative(function: Callable[[Tensor], Any], x: Tensor, key: Sequence[int]) -> Tensor:
    """A derivative of a function of points `(..., in)`, by the inputs at these places in turn."""
    import torch
    from torch.func import jvp

    found: Tensor
    if not key:
        found = function(x)
        return found
    *inner, place = key
    direction = torch.zeros_like(x)
    direction[..., place] = 1
    found = jvp(lambda x: derivative(function, x, inner), (x,), (direction,))[1]
    return found
