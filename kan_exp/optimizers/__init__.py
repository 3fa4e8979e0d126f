"""Optimizers beyond torch's own: pure functions first, a thin `torch.optim.Optimizer` around."""

from kan_exp.optimizers.jacobian import Stack
from kan_exp.optimizers.least_squares import Problem, State, start, step
from kan_exp.optimizers.levenberg_marquardt import LevenbergMarquardt

__all__ = ["LevenbergMarquardt", "Problem", "Stack", "State", "start", "step"]
