"""TensorBoard's HParams tab, with the results of runs as its only metrics."""

from __future__ import annotations

import json
from typing import Any

from tensorboard.data.provider import ScalarDatum
from tensorboard.plugins.hparams.api_pb2 import MetricInfo, MetricName
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.plugins.hparams.hparams_plugin import HParamsPlugin
from tensorboard.plugins.hparams.metadata import PLUGIN_NAME, SESSION_START_INFO_TAG
from tensorboard.plugins.scalar.metadata import PLUGIN_NAME as SCALARS

from kan_exp.board import RESULT, SEED_TAG


class ResultsContext(Context):
    """Collects the columns from all runs, whatever sweeps they belong to.

    TensorBoard does so too if no run has a list of columns, but takes every curve for a metric, and
    its parallel coordinates leave out each run that lacks one of them. Here only results are
    metrics, and each seed of a stacked run is a row.
    """

    def experiment_from_metadata(
        self, ctx: Any, experiment_id: str, include_metrics: bool, *rest: Any, **options: Any
    ) -> Any:
        experiment = super().experiment_from_metadata(
            ctx, experiment_id, include_metrics, *rest, **options
        )
        del experiment.metric_infos[:]
        if include_metrics:
            runs = self.tb_context.data_provider.list_scalars(
                ctx, experiment_id=experiment_id, plugin_name=SCALARS
            )
            tags = {tag for tags in runs.values() for tag in tags if tag.startswith(RESULT)}
            for tag in sorted(tags, key=_sort_key):
                info = MetricInfo(name=MetricName(tag=tag), display_name=tag.removeprefix(RESULT))
                experiment.metric_infos.append(info)
        return experiment

    def hparams_metadata(self, *rest: Any, **options: Any) -> dict[str, dict[str, bytes]]:
        rows: dict[str, dict[str, bytes]] = {}
        for run, tags in super().hparams_metadata(*rest, **options).items():
            seeds = [tag for tag in tags if tag.startswith(SEED_TAG)]
            for tag in seeds:
                rows[_row(run, tag)] = {**tags, SESSION_START_INFO_TAG: tags[tag]}
            if not seeds:
                rows[run] = tags
        return rows

    def read_last_scalars(self, ctx: Any, experiment_id: str, run_tag_filter: Any) -> Any:
        rows = dict(super().read_last_scalars(ctx, experiment_id, run_tag_filter))
        tensors = self.tb_context.data_provider.read_tensors(
            ctx, experiment_id=experiment_id, plugin_name=PLUGIN_NAME, downsample=1
        )
        for run, tags in tensors.items():
            for tag, points in tags.items():
                if tag.startswith(SEED_TAG):
                    (last,) = points
                    # An older version stored numbers without their names.
                    metrics = json.loads(last.numpy.item()) if last.numpy.dtype == object else {}
                    rows[_row(run, tag)] = {
                        f"{RESULT}{name}": ScalarDatum(last.step, last.wall_time, float(value))
                        for name, value in metrics.items()
                    }
        return rows


def _sort_key(tag: str) -> tuple[bool, bool, bool, str]:
    """Test metrics come first: TensorBoard shows five columns at first."""
    name = tag.removeprefix(RESULT)
    return not name.startswith("test_"), not name.startswith("val_"), name == "parameters", name


def _row(run: str, tag: str) -> str:
    """The name of a seed of a stacked run where TensorBoard expects a run."""
    return f"{run}/seed={tag.removeprefix(SEED_TAG)}"


class ResultsPlugin(HParamsPlugin):
    """The HParams tab with `ResultsContext`."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._context = ResultsContext(context)
