"""Figures of the edges at a few moments of the training, which the dashboard can replay."""

from __future__ import annotations

import logging
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer
from matplotlib.figure import Figure

from kan_exp.data import ExperimentData
from kan_exp.models.model import KANModel
from kan_exp.models.views import LayerView
from kan_exp.plots import LayerFigure
from kan_exp.plots.saving import png
from kan_exp.runs.best_effort import best_effort
from kan_exp.training.tensorboard import RunLogger

log = logging.getLogger(__name__)


class EdgeFigures(Callback):
    """Draws the edges of every layer before, during and after the training.

    Args:
        moments: Number of drawings between start and end, spread evenly over the steps; each is
            made at the next validation.
        points: Number of training points whose way through the network is shown.
    """

    def __init__(self, moments: int, points: int) -> None:
        self.moments, self.points = moments, points
        self._figures: dict[int, LayerFigure] = {}
        self._drawn = 0  # parts of the training
        self._failed = False

    def views(self, model: KANModel, data: ExperimentData) -> list[LayerView]:
        """The current state of each layer, at the first training points."""
        x = data.train.x[: self.points]
        return model.views(x.to(model.x_mean.device), data.true_edges(x))

    def draw(self, layer: int, view: LayerView) -> Figure:
        """Makes or updates the figure of a layer, counted from 0."""
        drawn = self._figures.pop(layer, None)  # a figure whose update fails is not used again
        if drawn is None or drawn.shape != view.y.shape[1:]:
            drawn = LayerFigure(view)
        else:
            drawn.update(view)
        self._figures[layer] = drawn
        return drawn.figure

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step == 0:
            self._drawn = 0
            self._log(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._drawn = state["drawn"]

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        part = trainer.global_step * (self.moments + 1) // trainer.max_steps
        at_end = trainer.global_step >= trainer.max_steps
        if part > self._drawn and not at_end:  # the best network is drawn last, once it is known
            self._drawn = part
            self._log(trainer, module)

    def _log(self, trainer: Trainer, module: LightningModule) -> None:
        logger, data = trainer.logger, cast(Any, trainer).datamodule
        if self._failed or not isinstance(logger, RunLogger):
            return
        with best_effort("the edges could not be drawn during the training", self._give_up):
            for layer, view in enumerate(self.views(cast(KANModel, module.model), data)):
                encoded = png(self.draw(layer, view))
                logger.figure(f"edges/layer_{layer + 1}", encoded, trainer.global_step)

    def _give_up(self, note: str) -> None:
        """Logs the failure once; it would be the same at every moment."""
        self._failed = True
        log.info("%s", note)
