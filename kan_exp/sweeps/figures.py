"""The pictures of a search, in its folder."""

from __future__ import annotations

from pathlib import Path

from optuna.distributions import CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from kan_exp.plots import importance_figure, parallel_figure, search_history_figure
from kan_exp.plots.search import Axis
from kan_exp.plots.style import pixels, png
from kan_exp.runs.metrics import title
from kan_exp.sweeps.study import StoredStudy


def draw_search(folder: Path, study: StoredStudy) -> list[Path]:
    """Draws the history of all trials, and importances and parallel coordinates of complete ones.

    Returns:
        The files that were written.

    Raises:
        OSError: They cannot be.
    """
    trials = study.trials()  # all, at the places that their numbers say
    while trials and not trials[-1].state.is_finished():
        trials.pop()
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if not complete:
        return []
    name = title(study.settings.metric)
    pruned = [trial.state == TrialState.PRUNED for trial in trials]
    errors = [
        trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
        for trial in trials
    ]
    figures = {"history": search_history_figure(errors, pruned, name)}
    shares = study.importances()
    if len(shares) > 1:
        figures["importance"] = importance_figure(shares, len(complete))
    options = dict.fromkeys(option for trial in complete for option in trial.params)
    axes = [_axis(option, complete) for option in options]
    figures["parallel"] = parallel_figure(axes, [trial.value for trial in complete], name)
    paths = []
    for stem, figure in figures.items():
        paths.append(folder / "figures" / f"{stem}.png")
        paths[-1].parent.mkdir(exist_ok=True)
        paths[-1].write_bytes(png(pixels(figure)))
    return paths


def _axis(option: str, trials: list[FrozenTrial]) -> Axis:
    kinds = [trial.distributions[option] for trial in trials if option in trial.distributions]
    words = isinstance(kinds[0], CategoricalDistribution)
    return Axis(
        option,
        [trial.params.get(option) for trial in trials],
        log=not words and bool(getattr(kinds[0], "log", False)),
    )
