"""Differential equations with their conditions, and the points at which they are to hold.

Formulas of `conf/pde/` become residuals that `training` minimizes; exact solutions measure errors.
"""

from kan_exp.equations.conditions import Condition
from kan_exp.equations.formulas import FormulaProblem
from kan_exp.equations.problem import Problem
from kan_exp.equations.references import AllenCahnSolution, BurgersSolution, IntegratedSolution

__all__ = [
    "AllenCahnSolution",
    "BurgersSolution",
    "Condition",
    "FormulaProblem",
    "IntegratedSolution",
    "Problem",
]
