"""What happens beside the training: figures, a progress line, an orderly stop."""

from kan_exp.training.callbacks.checkpoint import RunCheckpoint
from kan_exp.training.callbacks.edge_figures import EdgeFigures
from kan_exp.training.callbacks.progress import ProgressLine
from kan_exp.training.callbacks.pruning import TrialPruning
from kan_exp.training.callbacks.stop import SignalStop

__all__ = ["EdgeFigures", "ProgressLine", "RunCheckpoint", "SignalStop", "TrialPruning"]
