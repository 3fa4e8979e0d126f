"""Callbacks of a training: checkpoints, figures, progress, signals, pruning."""

from kan_exp.training.callbacks.checkpoint import BestNetwork as BestNetwork
from kan_exp.training.callbacks.checkpoint import RunCheckpoint as RunCheckpoint
from kan_exp.training.callbacks.edge_figures import EdgeFigures as EdgeFigures
from kan_exp.training.callbacks.progress import ProgressLine as ProgressLine
from kan_exp.training.callbacks.pruning import TrialPruning as TrialPruning
from kan_exp.training.callbacks.stop import SignalStop as SignalStop
