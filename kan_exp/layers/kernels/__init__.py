"""Sums of splines, the inner loop of all grids."""

from kan_exp.layers.kernels.spline_sum import kernel_name, spline_sum
from kan_exp.layers.kernels.splines import (
    Grid,
    basis_derivatives,
    basis_polynomials,
    interval_polynomials,
    spline_basis,
    spline_derivatives,
    spline_values,
)

__all__ = [
    "Grid",
    "basis_derivatives",
    "basis_polynomials",
    "interval_polynomials",
    "kernel_name",
    "spline_basis",
    "spline_derivatives",
    "spline_sum",
    "spline_values",
]
