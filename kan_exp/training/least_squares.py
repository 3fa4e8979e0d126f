"""Trains by Levenberg-Marquardt: all points at once, many starts, from coarse to fine grids."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from kan_exp.data import Split
from kan_exp.errors import KanExpError
from kan_exp.layers import GridLayer
from kan_exp.layers.constraints import Constraint, constrain
from kan_exp.models.loading import network_of
from kan_exp.models.model import KANModel, evaluation_mode
from kan_exp.optimizers import LevenbergMarquardt, Report
from kan_exp.optimizers.bounds import inequalities_of_parameters
from kan_exp.tasks import Task
from kan_exp.training.module import KANModule
from kan_exp.training.penalties import group_matrix
from kan_exp.training.penalty_rules import ORDERS, check_quadratic
from kan_exp.training.stages import Stage
from kan_exp.training.starts import decayed_penalty, follow, grid_layers

log = logging.getLogger(__name__)

# At the end of a stage the validation error may have risen by this factor: a smaller rise is
# rounding, such as that of a refinement.
ROUNDING = 1.001
MAX_VALIDATED = 4  # networks that are validated after every chunk, which costs a pass of each


class LeastSquaresModule(KANModule):
    """Trains several networks at once and keeps the best; the model's network is the best.

    The best are those with the smallest error on the validation points. Where a stage raises it,
    the finer grid follows the training points instead of the function: the training ends, and the
    checkpoint has the network from before.

    Args:
        model: The scaling, with any of the starts as its network.
        task: What is minimized, and by which metric networks are chosen.
        starts: Networks of one shape, in float64.
        stages: The stages of their training.
        validation: Standardized points by which networks are chosen.
        optimizer: Makes the optimizer from the networks.
        penalty: Weights of `roughness`, `curvature` and `jerk`, on a grid of `COARSEST` intervals,
            and of `group`, for tables and splines only.
        penalty_decay: The power of the number of intervals with which these weights fall.
        description: Plain containers that say how to build the model again; kept in checkpoints.
        follow_every: Steps after which hidden grids follow their values, and validation is checked.
        max_rise: By which factor the validation error may rise within a stage.
        constraints: Of each layer, none if not given.

    Raises:
        KanExpError: A penalty is no quadratic form of the parameters.
    """

    rate_name = "damping"
    logs_penalties = False  # they are part of its equations

    def __init__(
        self,
        model: KANModel,
        task: Task,
        starts: Sequence[nn.Sequential],
        stages: Sequence[Stage],
        validation: Split,
        optimizer: Any,
        penalty: Mapping[str, float],
        penalty_decay: float,
        description: Mapping[str, Any],
        *,
        follow_every: int,
        max_rise: float,
        constraints: Sequence[Constraint] = (),
    ) -> None:
        super().__init__(
            model, task, optimizer, None, penalty, description, constraints=constraints
        )
        grids = all(isinstance(layer, GridLayer) for layer in model.edge_layers)
        check_quadratic(self.penalty, grids)
        self.stages = list(stages)
        self.penalty_decay = penalty_decay
        self.follow_every, self.max_rise = follow_every, max_rise
        self.validation = validation.map(Tensor.double)
        self._starts = list(starts)  # in a list: only the best of them is part of the model
        self._stage = 0
        self._steps_in_stage = 0
        self._least = math.inf  # validation error at the end of the stage before
        self._forms: dict[int, tuple[Any, Tensor]] = {}

    def configure_optimizers(self) -> Any:
        """Makes the optimizer of all networks, once the trainer has moved the module.

        Only the best network is part of the module: the others, and the validation points, are
        moved to its device here.
        """
        for network in self._starts:
            network.to(self.device)
        self.validation = self.validation.map(lambda part: part.to(self.device))
        quadratic = self._quadratic if self.penalty else None
        engine = cast(
            LevenbergMarquardt,
            self.optimizer_factory(  # type: ignore[call-arg]
                self._starts,  # type: ignore[arg-type]
                loss=self.loss,
                quadratic=quadratic,
                inequalities=self._inequalities if self.constraints else None,
            ),
        )
        if self._rules is not None:
            engine.load_state_dict(self._rules["optimizer"])
        return engine

    def _inequalities(self, network: nn.Module) -> Tensor:
        return inequalities_of_parameters(cast(nn.Sequential, network), self.constraints)

    def _apply_constraints(self, engine: LevenbergMarquardt) -> None:
        """Makes all networks obey the constraints exactly."""
        for network in engine.modules if self.constraints else ():
            constrain(cast(nn.Sequential, network), self.constraints)

    def _quadratic(self, network: nn.Module) -> Tensor:
        """The penalty of a network; that of derivatives changes with its grids alone."""
        network = cast(nn.Sequential, network)
        weights = {ORDERS[name]: weight for name, weight in self.penalty.items() if name in ORDERS}
        forms = [self._form(network, weights)] if weights else []
        if group := self.penalty.get("group"):
            forms.append(group * group_matrix(network))
        return sum(forms[1:], forms[0])

    def _form(self, network: nn.Sequential, weights: dict[int, float]) -> Tensor:
        """The penalty of derivatives, computed again after one of the grids has changed."""
        layers = grid_layers(network)
        # The version of a tensor counts changes in place; its values would make a GPU wait.
        grids = [(layer.num_intervals, layer.spacing._version) for layer in layers]
        known = self._forms.get(id(network))
        if known is None or known[0] != grids:
            matrix = decayed_penalty(network, weights, self.penalty_decay)
            known = self._forms[id(network)] = grids, matrix
        return known[1]

    @property
    def summary(self) -> str:
        intervals = [str(stage.num_intervals) for stage in self.stages if stage.num_intervals]
        parts = [f"least squares from {self.stages[0].num_candidates} starts"]
        parts += [f"intervals {', '.join(intervals)}"] if intervals else []
        parts.append(f"networks {', '.join(str(stage.num_candidates) for stage in self.stages)}")
        parts.append(f"steps {', '.join(str(stage.steps) for stage in self.stages)}")
        return "; ".join(parts)

    def training_step(self, chunk: Split, _: int) -> None:
        optimizer = self._optimizer
        engine = cast(LevenbergMarquardt, optimizer.optimizer)
        points = next(chunk.unbind()).map(Tensor.double)  # every step takes the same ones
        losses: list[float] = []
        for _step in chunk.x:
            self._move_on(engine)
            optimizer.step(lambda: self._seen(points))
            self._apply_constraints(engine)
            self._steps_in_stage += 1
            report = cast(Report, engine.report)
            losses.append(report.error[report.best])
            if self._steps_in_stage % self.follow_every == 0 and not self._stage_is_over(engine):
                follow(cast("list[nn.Sequential]", engine.modules), points.x)
                self._apply_constraints(engine)
            if self._is_last and engine.stalled:
                self.converged = engine.stopped[report.best]
                self.trainer.should_stop = True
            if self._overfits(engine):
                self.overfits = self.trainer.should_stop = True
            if self.trainer.should_stop:
                break
        self._choose(engine)
        self._observe()
        rates = [self._rate()] * len(losses)
        self._record(torch.tensor(losses, dtype=torch.float64), rates, {})

    def _seen(self, points: Split) -> Split:
        count = self.stages[self._stage].points
        return points.map(lambda part: part[:count])

    def _diverged(self, what: str, step: int, rate: float) -> str:
        return f"the {what} is no number at step {step:,}: look at the data, or raise refine.jerk."

    def _rate(self) -> float:
        """The damping of the best network's next step."""
        report = cast(LevenbergMarquardt, self._optimizer.optimizer).report
        if report is None:
            return float(self._optimizer.param_groups[0]["damping"])
        return report.damping[report.best]

    @property
    def _is_last(self) -> bool:
        return self._stage == len(self.stages) - 1

    def _stage_is_over(self, engine: LevenbergMarquardt) -> bool:
        return engine.stalled or self._steps_in_stage >= self.stages[self._stage].steps

    @torch.no_grad()
    def _validate(self, engine: LevenbergMarquardt) -> Tensor:
        """Each network's error on the validation points, see `Task.selection_error`."""
        x, y, weight = self.validation
        y_mean, y_std = self.model.y_mean, self.model.y_std
        with evaluation_mode(*engine.modules):
            errors = [
                self.task.selection_error(network(x), y, y_mean, y_std, weight)
                for network in engine.modules
            ]
        return torch.stack(errors).nan_to_num(torch.inf)

    def _choose(self, engine: LevenbergMarquardt) -> None:
        """Makes the best network the model's: on validation, or of many on the training points."""
        best = 0
        if len(engine.modules) > MAX_VALIDATED:
            best = cast(Report, engine.report).best
        elif len(engine.modules) > 1:
            errors = self._validate(engine).tolist()
            best = errors.index(min(errors))
        self.model.network = cast(nn.Sequential, engine.modules[best])

    def _overfits(self, engine: LevenbergMarquardt) -> bool:
        """Whether the finer grid of this stage has raised the validation error."""
        over = self._stage_is_over(engine)
        # The first steps on a finer grid may raise the error that later ones lower again.
        settled = over or (self._is_last and self._steps_in_stage % self.follow_every == 0)
        # A stage with some of the points may well fit these alone: the next one sees more.
        if self._stage == 0 or not settled or self.stages[self._stage].points is not None:
            return False
        least = min(self._validate(engine).tolist())
        if least <= (ROUNDING if over else self.max_rise) * self._least:
            return False
        intervals = self.stages[self._stage].num_intervals
        log.info(
            "Stopped at %s: the validation error rose from %.3g to %.3g.",
            f"stage {self._stage + 1}" if intervals is None else f"{intervals} intervals",
            self._least,
            least,
        )
        return True

    def _move_on(self, engine: LevenbergMarquardt) -> None:
        """Begins the next stage once this one is over: fewer networks, finer grids."""
        if self._is_last or not self._stage_is_over(engine):
            return
        self._stage += 1
        self._steps_in_stage = 0
        stage = self.stages[self._stage]
        errors = self._validate(engine).tolist()
        self._least = min(errors)
        order = sorted(range(len(errors)), key=errors.__getitem__)
        self._keep(engine, order[: stage.num_candidates])
        self._forms.clear()
        self._begin_stage(engine)

    def _keep(self, engine: LevenbergMarquardt, order: Sequence[int]) -> None:
        """Drops all networks but those at these places."""
        engine.keep(order)

    def _begin_stage(self, engine: LevenbergMarquardt) -> None:
        """Refines the grids for the stage that begins."""
        stage = self.stages[self._stage]
        if stage.num_intervals is not None:
            for network in engine.modules:
                for layer in grid_layers(cast(nn.Sequential, network)):
                    layer.refine(stage.num_intervals)
            self._apply_constraints(engine)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Describes the layers with their present sizes."""
        entries = zip(self.description["layers"], self.model.edge_layers, strict=True)
        layers = [
            {**entry, "options": layer.present_options(entry["options"])}
            for entry, layer in entries
        ]
        checkpoint["kan_exp"] = {**self.description, "layers": layers}

    def training_state(self) -> dict[str, Any]:
        engine = cast(LevenbergMarquardt, self._optimizer.optimizer)
        networks = engine.modules
        return {
            **super().training_state(),
            "networks": [dict(network.state_dict()) for network in networks],
            "chosen": [network is self.model.network for network in networks].index(True),
            "stage": self._stage,
            "steps_in_stage": self._steps_in_stage,
            "least": self._least,
        }

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        progress = checkpoint["progress"]
        if progress["optimizer"] is None:
            raise KanExpError("an earlier version wrote its checkpoint: repeat it with --from.")
        self._starts = []
        for weights in progress["networks"]:  # with their present sizes
            network = network_of(checkpoint["kan_exp"]).double()
            network.load_state_dict(weights)
            self._starts.append(network)
        self.model.network = self._starts[progress["chosen"]]
        self._stage, self._steps_in_stage = progress["stage"], progress["steps_in_stage"]
        self._least = progress["least"]
        super().restore(checkpoint)
