"""Cubic B-splines on uniform grids, and rows of data with the splines' values at their inputs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.expression import Array


class SplineRows:
    """SplineRows to fit to, with the values of the splines' basis at their inputs."""

    def __init__(self, x: Array, y: Array, weight: Array, seen: Sequence[Array] = ()) -> None:
        """Of inputs `(n, in)`, target `(n,)` and weights of squared errors `(n,)`.

        Args:
            seen: Functions of the target `(n,)` that may be sums of the inputs' functions.
        """
        self.x, self.y, self.seen = x, y, seen or (y,)
        self.root = np.sqrt(weight / weight.sum())
        self.low, self.high = x.min(0), x.max(0)
        self._bases: dict[tuple[int, int], Array] = {}

    def basis(self, column: int, cells: int, low: float, high: float) -> Array:
        """Values `(n, cells + 3)` of a basis over the range of an input."""
        key = (column, cells)
        if key not in self._bases:
            at = (self.x[:, column] - low) / max(high - low, 1e-300) * cells
            place, local, _ = local_splines(at, cells)
            self._bases[key] = dense(place, local, cells + 3)
        return self._bases[key]


def local_splines(at: Array, cells: int) -> tuple[NDArray[np.intp], Array, Array]:
    """The cell of each position, and the four cubic B-splines there: values, slopes `(4, ...)`.

    Beyond the first and the last knot the splines go on along straight lines.
    """
    inside = np.clip(at, 0.0, cells)
    place = np.minimum(inside.astype(np.intp), cells - 1)
    t = inside - place
    s = 1 - t
    t2, s2 = t * t, s * s
    values = np.stack(
        [
            s2 * s / 6,
            (3 * t2 * (t - 2) + 4) / 6,
            (3 * s2 * (s - 2) + 4) / 6,
            t2 * t / 6,
        ]
    )
    slopes = np.stack([-s2 / 2, t * (1.5 * t - 2), s * (2 - 1.5 * s), t2 / 2])
    beyond = at - inside
    if beyond.any():
        values += beyond * slopes
    return place, values, slopes


def dense(place: NDArray[np.intp], local: Array, width: int) -> Array:
    """The values of all splines `(..., width)` from the four that are not 0."""
    result = np.zeros((*place.shape, width))
    flat = result.reshape(-1)
    first = np.arange(place.size) * width + place.ravel()
    for number in range(4):
        flat[first + number] = local[number].ravel()
    return result


@lru_cache(maxsize=16)
def projection(cells: int) -> tuple[Array, Array]:
    """Positions in a grid, and the matrix from values there to the coefficients of splines."""
    at = np.linspace(0, cells, 4 * (cells + 3))
    place, local, _ = local_splines(at, cells)
    return at, np.asarray(np.linalg.pinv(dense(place, local, cells + 3)), np.float64)


@lru_cache(maxsize=16)
def roughness(width: int) -> Array:
    """The matrix of squared third differences of coefficients."""
    difference = np.diff(np.eye(width), 3, axis=0)
    return difference.T @ difference
