"""Optimizers beyond torch's own: pure functions first, a thin `torch.optim.Optimizer` around."""

from kan_exp.optimizers.fit import Fit, Limits
from kan_exp.optimizers.jacobian import StackedNetworks
from kan_exp.optimizers.least_squares import (
    LeastSquares,
    Problem,
    State,
    Stop,
    Tolerances,
    Value,
    minimise,
    start,
    step,
)
from kan_exp.optimizers.levenberg_marquardt import LevenbergMarquardt
from kan_exp.optimizers.penalties import Expansion, Penalty, Quadratic, SmoothL1
from kan_exp.optimizers.systems import conjugate_gradients
from kan_exp.tasks.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Huber,
    Local,
    Loss,
    Squared,
)

__all__ = [
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Expansion",
    "Fit",
    "Huber",
    "LeastSquares",
    "LevenbergMarquardt",
    "Limits",
    "Local",
    "Loss",
    "Penalty",
    "Problem",
    "Quadratic",
    "SmoothL1",
    "Squared",
    "StackedNetworks",
    "State",
    "Stop",
    "Tolerances",
    "Value",
    "conjugate_gradients",
    "minimise",
    "start",
    "step",
]
