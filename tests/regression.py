"""The default task."""

from kan_exp.tasks import OLD_SCORING, Regression

TASK = Regression(**OLD_SCORING)
