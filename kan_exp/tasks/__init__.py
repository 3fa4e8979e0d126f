"""What a training minimizes and how its predictions are judged, one file for each task.

Importing it does not import torch: sweeps and reports ask for metrics, too.
"""

from kan_exp.lazy import attach
from kan_exp.tasks.base import OLD_SCORING, Scoring, Task, scoring_of
from kan_exp.tasks.metrics import METRICS, Metric
from kan_exp.tasks.regression import Regression

__all__ = ["METRICS", "OLD_SCORING", "Metric", "Regression", "Scoring", "Task", "scoring_of"]

# A task in a file of its own is found there; those of the files above are not looked for.
__getattr__ = attach(__name__, {"Task": "base", "Metric": "metrics", "Regression": "regression"})
