"""Least squares: pure functions, and a `torch.optim.Optimizer` around them."""

from kan_exp.optimizers.fit import Fit, Limits
from kan_exp.optimizers.jacobian import BatchedNetworks
from kan_exp.optimizers.least_squares import (
    LeastSquares,
    Problem,
    Report,
    State,
    Stop,
    Tolerances,
    Value,
    minimize,
    start,
    step,
)
from kan_exp.optimizers.levenberg_marquardt import LevenbergMarquardt
from kan_exp.optimizers.penalties import Expansion, Penalty, Quadratic, SmoothL1
from kan_exp.optimizers.residuals import ResidualFit, Residuals, Term
from kan_exp.optimizers.systems import conjugate_gradients

__all__ = [
    "BatchedNetworks",
    "Expansion",
    "Fit",
    "LeastSquares",
    "LevenbergMarquardt",
    "Limits",
    "Penalty",
    "Problem",
    "Quadratic",
    "Report",
    "ResidualFit",
    "Residuals",
    "SmoothL1",
    "State",
    "Stop",
    "Term",
    "Tolerances",
    "Value",
    "conjugate_gradients",
    "minimize",
    "start",
    "step",
]
