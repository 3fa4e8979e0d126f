"""Functions to learn: a formula, the domain it is asked about, and how noisy the answers are."""

from kan_exp.targets.formula import Formula
from kan_exp.targets.target import Target

__all__ = ["Formula", "Target"]
