"""Differential equations with their conditions, and the points at which they are to hold."""

from kan_exp.equations.formulas import FormulaProblem
from kan_exp.equations.problem import Condition, Problem

__all__ = ["Condition", "FormulaProblem", "Problem"]
