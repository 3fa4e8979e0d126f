"""A differential equation: its residual is minimized, the solution compared with the exact one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kan_exp.tasks.base import Task

if TYPE_CHECKING:
    from kan_exp.tasks.losses import Loss


class Equation(Task):
    """Predicts the solution; minimizes the weighted mean squares of all residuals."""

    scales_target = False
    figures = ()
    solves = True

    def loss(self) -> Loss:
        from kan_exp.tasks.losses import Squared

        return Squared()
