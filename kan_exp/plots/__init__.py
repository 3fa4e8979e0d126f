"""Figures: a layer, a prediction or a history in, a matplotlib `Figure` out; nothing is saved."""

from kan_exp.plots.edges import LayerFigure
from kan_exp.plots.history import history_figure
from kan_exp.plots.prediction import TASK_FIGURES, prediction_figure
from kan_exp.plots.replica_spread import replicas_figure
from kan_exp.plots.search import importance_figure, parallel_figure, search_history_figure

__all__ = [
    "TASK_FIGURES",
    "LayerFigure",
    "history_figure",
    "importance_figure",
    "parallel_figure",
    "prediction_figure",
    "replicas_figure",
    "search_history_figure",
]
