"""TensorBoard's HParams tab, with the results of a run as its metrics and nothing else."""

from __future__ import annotations

from typing import Any

from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin

from kan_exp.board.summaries import RESULT, RESULTS


class ResultsContext(Context):
    """Takes the columns from the runs that are there, whatever sweeps they belong to.

    TensorBoard does so too where no run brings a list of columns; of several lists it would take
    any one, and hide what the other sweeps have chosen. But every curve is a metric to it, and its
    parallel coordinates leave out each run that lacks one of them.
    """

    def experiment_from_metadata(self, *given: Any, **named: Any) -> Any:
        experiment = super().experiment_from_metadata(*given, **named)
        shown = {f"{RESULT}{name}": name for name in RESULTS}
        results = {info.name.tag: info for info in experiment.metric_infos}
        if not shown.keys() & results.keys():
            return experiment  # the runs of another program
        del experiment.metric_infos[:]
        for tag, name in shown.items():
            if tag in results:
                results[tag].display_name = name
                experiment.metric_infos.append(results[tag])
        return experiment


class ResultsPlugin(HParamsPlugin):
    """The tab with that in the place of its own context."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._context = ResultsContext(context)
