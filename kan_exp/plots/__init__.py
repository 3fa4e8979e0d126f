"""Figures: a layer, network, prediction or history in, a `Figure` out; nothing is saved."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from kan_exp.plots.classes import calibration_figure, confusion_figure, roc_figure
from kan_exp.plots.conditions import conditions_figure
from kan_exp.plots.edges import LayerFigure
from kan_exp.plots.formula import formula_figure
from kan_exp.plots.history import history_figure
from kan_exp.plots.moving import moving_picture
from kan_exp.plots.network import network_figure
from kan_exp.plots.prediction import prediction_figure, quantiles_figure
from kan_exp.plots.replica_spread import replicas_figure
from kan_exp.plots.search import importance_figure, parallel_figure, search_history_figure
from kan_exp.plots.solution import Fields, solution_figure

__all__ = [
    "TASK_FIGURES",
    "Fields",
    "LayerFigure",
    "conditions_figure",
    "formula_figure",
    "history_figure",
    "importance_figure",
    "moving_picture",
    "network_figure",
    "parallel_figure",
    "prediction_figure",
    "replicas_figure",
    "search_history_figure",
    "solution_figure",
]

# The figures that `Task.figures` can name: of truth, predictions, names of the columns of the
# predictions, and a caption.
TASK_FIGURES: Mapping[str, Callable[[np.ndarray, np.ndarray, Sequence[str], str], Figure]] = {
    "prediction": prediction_figure,
    "quantiles": quantiles_figure,
    "confusion": confusion_figure,
    "roc": roc_figure,
    "calibration": calibration_figure,
}
