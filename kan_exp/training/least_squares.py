"""Trains by Levenberg-Marquardt: all points at once, many starts, from coarse to fine grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from kan_exp.data import Split
from kan_exp.errors import KanExpError
from kan_exp.layers import GridLayer
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.training.model import KANModel
from kan_exp.training.module import KANModule
from kan_exp.training.starts import Stage, follow, penalty_matrix

FOLLOW_EVERY = 5  # steps
ORDERS = {"roughness": 1, "curvature": 2, "jerk": 3}


class LeastSquaresModule(KANModule):
    """Trains several networks at once and goes on with the best; the model's network is the best.

    Args:
        model: The scaling, with any one of the starts as its network.
        starts: Networks of one shape, in float64.
        stages: What to do with them, one stage after the other.
        optimizer: Makes the optimizer from the networks.
        penalty: Weights of `roughness`, `curvature` and `jerk`, for tables and splines only.
        description: Plain containers that say how to build the model again; kept in checkpoints.

    Raises:
        KanExpError: A penalty is no quadratic form of the parameters.
    """

    rate_name = "damping"

    def __init__(
        self,
        model: KANModel,
        starts: Sequence[nn.Sequential],
        stages: Sequence[Stage],
        optimizer: Any,
        penalty: Mapping[str, float],
        description: Mapping[str, Any],
    ) -> None:
        super().__init__(model, optimizer, None, penalty, description)
        grids = all(isinstance(layer, GridLayer) for layer in model.edge_layers)
        for name in self.penalty:
            if name not in ORDERS or not grids:
                raise KanExpError(
                    f"penalty.{name} does not go with optimizer=lm, which takes roughness, "
                    f"curvature and jerk of layer=interpo or spline: set penalty.{name}=0."
                )
        self.stages = list(stages)
        self._starts = list(starts)  # in a list: only the best of them is part of the model
        self._stage = 0
        self._steps_in_stage = 0
        self.errors: Tensor = torch.empty(0)

    def configure_optimizers(self) -> Any:
        quadratic = self._quadratic if self.penalty else None
        return self.optimizer_factory(self._starts, quadratic=quadratic)  # type: ignore[call-arg, arg-type]

    def _quadratic(self, network: nn.Module) -> Tensor:
        weights = {ORDERS[name]: weight for name, weight in self.penalty.items()}
        return penalty_matrix(network, weights)

    def check_optimizer(self) -> None:
        """Makes the optimizer once, to find what is wrong before training.

        Raises:
            KanExpError: The optimizer refuses one of its options.
        """
        try:
            self.configure_optimizers()
        except (TypeError, ValueError) as error:
            reason = str(error).rstrip(".")
            raise KanExpError(f"optimizer: {reason}. Change one of its options.") from error

    def training_step(self, chunk: Split, _: int) -> None:
        optimizer = self._optimizer
        engine = cast(LevenbergMarquardt, optimizer.optimizer)
        x, y = chunk.x[0].double(), chunk.y[0].double()  # every step sees all points
        losses: list[Tensor] = []
        for _step in chunk.x:
            self._move_on(engine)
            self.errors = cast(Tensor, optimizer.step(lambda: (x, y)))
            self._steps_in_stage += 1
            losses.append(self.errors.nan_to_num(torch.inf).min())
            best = int(self.errors.nan_to_num(torch.inf).argmin())
            self.model.network = cast(nn.Sequential, engine.modules[best])
            if self._steps_in_stage % FOLLOW_EVERY == 0 and not self._stage_is_over(engine):
                for network in engine.modules:
                    follow(cast(nn.Sequential, network), x)
            if self._is_last and bool(cast(Any, engine.replicas).stalled.all()):
                self.converged = engine.stopped[best]
                self.trainer.should_stop = True
            if self.trainer.should_stop:
                break
        self._observe()
        self._record(torch.stack(losses), [self._rate()] * len(losses), {})

    def _diverged(self, what: str, step: int, rate: float) -> str:
        return f"the {what} is no number at step {step:,}: look at the data, or raise refine.jerk."

    def _rate(self) -> float:
        """The damping of the best network's next step."""
        state = cast(LevenbergMarquardt, self._optimizer.optimizer).replicas
        if state is None:
            return float(self._optimizer.param_groups[0]["damping"])
        return float(state.damping[state.error.nan_to_num(torch.inf).argmin()])

    @property
    def _is_last(self) -> bool:
        return self._stage == len(self.stages) - 1

    def _stage_is_over(self, engine: LevenbergMarquardt) -> bool:
        stalled = engine.replicas is not None and bool(engine.replicas.stalled.all())
        return stalled or self._steps_in_stage >= self.stages[self._stage].steps

    def _move_on(self, engine: LevenbergMarquardt) -> None:
        """Goes to the next stage when this one is over: fewer networks, finer grids."""
        if self._is_last or not self._stage_is_over(engine):
            return
        self._stage += 1
        self._steps_in_stage = 0
        stage = self.stages[self._stage]
        best = self.errors.nan_to_num(torch.inf).argsort().tolist()
        engine.keep(best[: stage.keep])
        if stage.num_intervals is not None:
            for network in engine.modules:
                for layer in cast(nn.Sequential, network):
                    if isinstance(layer, GridLayer):
                        layer.refine(stage.num_intervals)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describes the layers as large as they are now."""
        entries = zip(self.description["layers"], self.model.edge_layers, strict=True)
        layers = [
            {**entry, "options": layer.present_options(entry["options"])}
            for entry, layer in entries
        ]
        checkpoint["kan_exp"] = {**self.description, "layers": layers}
