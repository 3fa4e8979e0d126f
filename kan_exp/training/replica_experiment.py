"""A run of many seeds at once: one network is kept, and all of them are told."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from kan_exp.errors import DivergedError
from kan_exp.models.loading import read_checkpoint
from kan_exp.plots import replicas_figure
from kan_exp.tasks.metrics import title
from kan_exp.training.experiment import Experiment, FigureMakers
from kan_exp.training.replicas import QUANTILES, ReplicaModule, spread
from kan_exp.training.score import finite, score_networks

log = logging.getLogger(__name__)


class ReplicaExperiment(Experiment):
    """An `Experiment` of a `ReplicaModule`: the replica that is best on validation is its network.

    What it reports of the others is scored with each as it was when it was best on validation, as
    a run of that seed alone would have kept it.
    """

    @property
    def _replicas(self) -> ReplicaModule:
        return cast(ReplicaModule, self.module)

    def _announce(self) -> None:
        super()._announce()
        module = self._replicas
        seeds = f"seeds {module.seed} to {module.seed + module.count - 1}"
        log.info("%d replicas, %s, as one stacked network", module.count, seeds)

    def _keep_best(self) -> None:
        module = self._replicas
        module.cpu()
        self._results = self._test_results()
        judged = [one[module.task.judged_by] for one in self._results]
        self._errors = torch.tensor(
            [math.nan if value is None else value for value in judged], dtype=torch.float64
        )
        kept = read_checkpoint(self.folder)["kan_exp"].get("replica")  # not in older checkpoints
        self.kept = int(module.best_errors.argmin()) if kept is None else kept
        # The loss curve is that of the network which is kept.
        for history, errors in (
            (module.train_history, module.train_errors),
            (module.val_history, module.val_errors),
        ):
            own = [(step, float(values[self.kept])) for step, values in errors]
            history[:] = [(step, value) for step, value in own if math.isfinite(value)]
        super()._keep_best()

    def _test_results(self) -> list[dict[str, Any]]:
        """The entries of `metrics.json` about the test points, for every replica."""
        module, test = self._replicas, self.data.test
        state = {name: part.cpu() for name, part in module.best_state.items()}
        predictions = []
        for replica in range(module.count):
            module.take(replica, state)
            predictions.append(module.model.predict(test.x))
        return score_networks(module.task, predictions, test.y)

    def _score(self, seconds: float, diverged: DivergedError | None) -> dict[str, Any]:
        metrics = super()._score(seconds, diverged)
        module = self._replicas
        trained = self._errors[module.alive]
        quantiles = spread("test", trained) if len(trained) else {}
        metrics["replicas"] = {
            "count": module.count,
            "kept_seed": module.seed + self.kept,
            **{name: quantiles.get(f"test/{name}") for name in QUANTILES},
            "diverged": [
                {"seed": module.seed + replica, "step": step}
                for replica, step in sorted(module.diverged.items())
            ],
            "each": [
                {
                    "seed": module.seed + replica,
                    **results,
                    module.task.chosen_by: finite(float(module.best_errors[replica])),
                    "best_step": int(module.best_steps[replica]),
                }
                for replica, results in enumerate(self._results)
            ],
        }
        return metrics

    def _history(self) -> dict[str, Any]:
        module = self._replicas
        every = {
            name: [[step, [finite(value) for value in values.tolist()]] for step, values in errors]
            for name, errors in (("train", module.train_errors), ("val", module.val_errors))
        }
        return {**super()._history(), "replicas": every}

    def _figure_makers(self, metrics: Mapping[str, Any]) -> FigureMakers:
        module = self._replicas
        return {
            **super()._figure_makers(metrics),
            "replicas": lambda: replicas_figure(
                [(step, values.numpy()) for step, values in module.train_errors],
                [(step, values.numpy()) for step, values in module.val_errors],
                self._errors.numpy().astype(np.float64),
                (~module.alive).numpy(),
                self.kept,
                module.seed,
                title(module.task.judged_by),
            ),
        }
