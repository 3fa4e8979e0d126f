"""TensorBoard's HParams tab, with the results of a run as its metrics and nothing else."""

from __future__ import annotations

import json
from typing import Any

from tensorboard.data.provider import ScalarDatum
from tensorboard.plugins.hparams.api_pb2 import MetricInfo, MetricName
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.hparams.metadata import PLUGIN_NAME, SESSION_START_INFO_TAG
from tensorboard.plugins.scalar.metadata import PLUGIN_NAME as SCALARS

from kan_exp.board.summaries import RESULT, SEED_TAG


class ResultsContext(Context):
    """Takes the columns from the runs that are there, whatever sweeps they belong to.

    TensorBoard does so too where no run brings a list of columns; of several lists it would take
    any one, and hide what the other sweeps have chosen. But every curve is a metric to it, and its
    parallel coordinates leave out each run that lacks one of them. Also, each seed of a stacked run
    is a row of its own here.
    """

    def experiment_from_metadata(
        self, ctx: Any, experiment_id: str, include_metrics: bool, *given: Any, **named: Any
    ) -> Any:
        experiment = super().experiment_from_metadata(
            ctx, experiment_id, include_metrics, *given, **named
        )
        del experiment.metric_infos[:]
        if include_metrics:
            runs = self.tb_context.data_provider.list_scalars(
                ctx, experiment_id=experiment_id, plugin_name=SCALARS
            )
            tags = [tag for tags in runs.values() for tag in tags if tag.startswith(RESULT)]
            for tag in sorted({*tags}, key=_order):
                info = MetricInfo(name=MetricName(tag=tag), display_name=tag.removeprefix(RESULT))
                experiment.metric_infos.append(info)
        return experiment

    def hparams_metadata(self, *given: Any, **named: Any) -> dict[str, dict[str, bytes]]:
        found: dict[str, dict[str, bytes]] = {}
        for run, tags in super().hparams_metadata(*given, **named).items():
            seeds = [tag for tag in tags if tag.startswith(SEED_TAG)]
            for tag in seeds:
                own = {SESSION_START_INFO_TAG: tags[tag]}
                found[_name(run, tag)] = {**tags, **own}
            if not seeds:
                found[run] = tags
        return found

    def read_last_scalars(self, ctx: Any, experiment_id: str, run_tag_filter: Any) -> Any:
        found = dict(super().read_last_scalars(ctx, experiment_id, run_tag_filter))
        tensors = self.tb_context.data_provider.read_tensors(
            ctx, experiment_id=experiment_id, plugin_name=PLUGIN_NAME, downsample=1
        )
        for run, tags in tensors.items():
            for tag, points in tags.items():
                if tag.startswith(SEED_TAG):
                    (last,) = points
                    found[_name(run, tag)] = {
                        f"{RESULT}{name}": ScalarDatum(last.step, last.wall_time, float(value))
                        for name, value in _results(last.numpy).items()
                    }
        return found


def _order(tag: str) -> tuple[bool, bool, bool, str]:
    """Errors on test points come first: TensorBoard shows five columns unless asked for more."""
    name = tag.removeprefix(RESULT)
    return not name.startswith("test_"), not name.startswith("val_"), name == "parameters", name


def _results(stored: Any) -> dict[str, float]:
    """The metrics of a seed; empty as an older version, which stored no names, has written them."""
    if stored.dtype != object:
        return {}
    found: dict[str, float] = json.loads(stored.item())
    return found


def _name(run: str, tag: str) -> str:
    """How a seed of a stacked run is called where TensorBoard wants a run."""
    return f"{run}/seed={tag.removeprefix(SEED_TAG)}"


class ResultsPlugin(HParamsPlugin):
    """The tab with that in the place of its own context."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._context = ResultsContext(context)
