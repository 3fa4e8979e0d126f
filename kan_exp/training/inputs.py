"""Points as users have them: tensors, arrays, lists, tables with named columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kan_exp.errors import KanExpError, listing, message_of


def as_points(x: Any, features: Sequence[str], device: torch.device) -> Tensor:
    """Converts points to a tensor `(n, in)`.

    Args:
        x: A tensor, which keeps its dtype, device and graph, or anything that NumPy makes an array
            of numbers of. Columns of a table are taken by name where it has any of the features.
            One-dimensional: the points of a model with one input, else one point.
        features: Name of each input.
        device: Where arrays go.

    Returns:
        Floating-point numbers; integers and booleans as float64.

    Raises:
        KanExpError: The shape is wrong, a column is missing, or there is something but numbers.
    """
    points = x if isinstance(x, Tensor) else _from_array(x, features, device)
    if points.is_complex():
        raise KanExpError(f"model takes real numbers for x, got {points.dtype}.")
    if not points.is_floating_point():
        points = points.double()
    width = len(features)
    shape = tuple(points.shape)
    if points.ndim == 1 and width == 1:
        points = points[:, None]
    elif points.ndim == 1:
        points = points[None]
    if points.ndim != 2 or points.shape[1] != width:
        raise KanExpError(
            f"model takes x of shape (n, {width}) ({listing(features)}), got {shape}."
        )
    return points


def _from_array(x: Any, features: Sequence[str], device: torch.device) -> Tensor:
    if isinstance(x, Sequence) and any(isinstance(part, Tensor) for part in x):
        x = [part.detach().cpu().numpy() if isinstance(part, Tensor) else part for part in x]
    x = _by_name(x, features)
    try:
        if isinstance(x, np.ma.MaskedArray):
            x = np.ma.filled(x.astype(np.float64), np.nan)
        array = np.asarray(x)
        if array.dtype.kind not in "fiubO":
            raise TypeError(array.dtype.name)
        exact = array.dtype in (np.float32, np.float64)
        array = np.array(array, dtype=array.dtype.name if exact else np.float64, order="C")
    except (RuntimeError, TypeError, ValueError) as error:
        reason = message_of(error)
        raise KanExpError(
            f"model takes numbers for x, an array of shape (n, {len(features)}), "
            f"got {type(x).__name__}: {reason}."
        ) from error
    return torch.from_numpy(array).to(device)


def _by_name(x: Any, features: Sequence[str]) -> Any:
    """The features' columns of a table, in the order in which the model takes them."""
    columns = getattr(x, "columns", None)
    if columns is None or callable(columns):
        return x
    names = list(columns)
    missing = [name for name in features if name not in names]
    if len(missing) == len(features):  # columns without names, or with names of their own
        return x
    if missing:
        raise KanExpError(
            f"model takes the columns {listing(features)}, but x lacks {listing(missing)}."
        )
    return x[list(features)]
