"""The figures of a search, in its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from optuna.trial import FrozenTrial, TrialState

from kan_exp.plots import importance_figure, parallel_figure, search_history_figure
from kan_exp.plots.saving import save_png
from kan_exp.plots.search import Axis
from kan_exp.runs.best_effort import best_effort
from kan_exp.sweeps.study import StoredStudy
from kan_exp.tasks.metrics import title


def draw_search(folder: Path, study: StoredStudy) -> list[str]:
    """Draws the history of all trials, and importances and parallel coordinates of complete ones.

    Returns:
        For each figure its path, or a note why it could not be drawn.
    """
    trials = study.trials()  # all, each at the place of its number
    while trials and not trials[-1].state.is_finished():
        trials.pop()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return []
    metric = title(study.settings.metric)
    makers: dict[str, Callable[[], Figure | None]] = {
        "history": lambda: _history(trials, metric),
        "importance": lambda: _importance(study, len(complete)),
        "parallel": lambda: _parallel(complete, metric),
    }
    lines: list[str] = []
    for stem, make in makers.items():
        path = folder / "figures" / f"{stem}.png"
        with best_effort(f"{path} could not be drawn", lines.append):
            if (figure := make()) is not None:
                save_png(figure, path)
                lines.append(str(path))
    return lines


def _history(trials: Sequence[FrozenTrial], metric: str) -> Figure:
    scored = (TrialState.COMPLETE, TrialState.PRUNED)
    errors = [trial.value if trial.state in scored else None for trial in trials]
    pruned = [trial.state == TrialState.PRUNED for trial in trials]
    return search_history_figure(errors, pruned, metric)


def _importance(study: StoredStudy, complete: int) -> Figure | None:
    shares = study.importances()
    return importance_figure(shares, complete) if len(shares) > 1 else None


def _parallel(complete: Sequence[FrozenTrial], metric: str) -> Figure:
    ranges = {name: kind for trial in complete for name, kind in trial.distributions.items()}
    axes = [
        Axis(name, [trial.params.get(name) for trial in complete], getattr(kind, "log", False))
        for name, kind in ranges.items()
    ]
    return parallel_figure(axes, [trial.value for trial in complete], metric)
