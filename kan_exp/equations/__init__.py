"""Differential equations with their conditions, and the points at which they are to hold."""

from kan_exp.equations.formulas import FormulaProblem
from kan_exp.equations.problem import Condition, Problem
from kan_exp.equations.references import BurgersSolution, IntegratedSolution

__all__ = ["BurgersSolution", "Condition", "FormulaProblem", "IntegratedSolution", "Problem"]
