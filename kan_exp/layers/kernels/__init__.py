"""Sums of splines, the inner loop of all grids."""

from kan_exp.layers.kernels.spline_sum import kernel_name, spline_sum, stacked_spline_sum
from kan_exp.layers.kernels.splines import (
    Grid,
    basis_derivatives,
    spline_basis,
    spline_derivatives,
    spline_values,
)

__all__ = [
    "Grid",
    "basis_derivatives",
    "kernel_name",
    "spline_basis",
    "spline_derivatives",
    "spline_sum",
    "spline_values",
    "stacked_spline_sum",
]
