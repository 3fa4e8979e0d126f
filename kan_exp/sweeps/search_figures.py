"""The figures of a search, in its folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from optuna.distributions import CategoricalDistribution
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
        A line for each: the file that was written, or a note why there is none.
    """
    trials = study.trials()  # all, at the places that their numbers say
    while trials and not trials[-1].state.is_finished():
        trials.pop()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return []
    makers: dict[str, Callable[[], Figure | None]] = {
        "history": lambda: _history(trials, study),
        "importance": lambda: _importance(study, len(complete)),
        "parallel": lambda: _parallel(complete, study),
    }
    lines: list[str] = []
    for stem, make in makers.items():
        path = folder / "figures" / f"{stem}.png"
        with best_effort(f"{path} could not be drawn", lines.append):
            figure = make()
            if figure is not None:
                save_png(figure, path)
                lines.append(str(path))
    return lines


def _history(trials: Sequence[FrozenTrial], study: StoredStudy) -> Figure:
    pruned = [trial.state == TrialState.PRUNED for trial in trials]
    errors = [
        trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
        for trial in trials
    ]
    return search_history_figure(errors, pruned, title(study.settings.metric))


def _importance(study: StoredStudy, complete: int) -> Figure | None:
    shares = study.importances()
    return importance_figure(shares, complete) if len(shares) > 1 else None


def _parallel(complete: list[FrozenTrial], study: StoredStudy) -> Figure:
    options = dict.fromkeys(option for trial in complete for option in trial.params)
    axes = [_axis(option, complete) for option in options]
    values = [trial.value for trial in complete]
    return parallel_figure(axes, values, title(study.settings.metric))


def _axis(option: str, trials: list[FrozenTrial]) -> Axis:
    kinds = [trial.distributions[option] for trial in trials if option in trial.distributions]
    words = isinstance(kinds[0], CategoricalDistribution)
    return Axis(
        option,
        [trial.params.get(option) for trial in trials],
        log=not words and bool(getattr(kinds[0], "log", False)),
    )
