"""Functions to learn: a formula, its domain, and noise."""

from kan_exp.targets.formula import Formula
from kan_exp.targets.target import Target

__all__ = ["Formula", "Target"]
