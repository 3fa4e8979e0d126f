"""The edges at a few moments of the training, so that the dashboard can replay how they form."""

from __future__ import annotations

from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from kan_exp.data import ExperimentData
from kan_exp.plots import LayerFigure, LayerView
from kan_exp.plots.style import pixels, png
from kan_exp.training.model import KANModel
from kan_exp.training.tensorboard import RunLogger


class EdgeFigures(Callback):
    """Draws every layer's edges before, during and after the training.

    Args:
        moments: How often they are drawn between the start and the end, spread evenly over the
            steps; each time at the next validation.
        points: Training points whose way through the network is shown.
    """

    def __init__(self, moments: int, points: int) -> None:
        self.moments, self.points = moments, points
        self._figures: list[LayerFigure] = []
        self._drawn = 0  # in how many parts of the training

    def views(self, model: KANModel, data: ExperimentData) -> list[LayerView]:
        """The layers as they are now, seen through the first training points."""
        x = data.train.x[: self.points]
        device = model.x_mean.device
        return model.views(x.to(device), data.true_edges(x))

    def draw(self, model: KANModel, data: ExperimentData) -> list[LayerFigure]:
        """Brings the figures, one per layer, up to the model's present state."""
        views = self.views(model, data)
        if not self._figures:
            self._figures = [LayerFigure(view) for view in views]
        else:
            for figure, view in zip(self._figures, views, strict=True):
                figure.update(view)
        return self._figures

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.global_step == 0:
            self._drawn = 0
            self._show(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        return {"drawn": self._drawn}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._drawn = state["drawn"]

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        part = trainer.global_step * (self.moments + 1) // trainer.max_steps
        at_end = trainer.global_step >= trainer.max_steps
        if part > self._drawn and not at_end:  # the end is drawn from the best, once it is known
            self._drawn = part
            self._show(trainer, module)

    def _show(self, trainer: Trainer, module: LightningModule) -> None:
        logger, data = trainer.logger, cast(Any, trainer).datamodule
        if isinstance(logger, RunLogger):
            for number, layer in enumerate(self.draw(cast(KANModel, module.model), data), 1):
                picture = png(pixels(layer.figure))
                logger.picture(f"edges/layer_{number}", picture, trainer.global_step)
