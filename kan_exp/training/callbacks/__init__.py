"""Callbacks of a training: checkpoints, figures, progress, signals, pruning."""

from kan_exp.training.callbacks.checkpoint import BestNetwork, RunCheckpoint
from kan_exp.training.callbacks.edge_figures import EdgeFigures
from kan_exp.training.callbacks.progress import ProgressLine
from kan_exp.training.callbacks.pruning import TrialPruning
from kan_exp.training.callbacks.stop import SignalStop

__all__ = [
    "BestNetwork",
    "EdgeFigures",
    "ProgressLine",
    "RunCheckpoint",
    "SignalStop",
    "TrialPruning",
]
