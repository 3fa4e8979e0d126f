"""Trains on noisy tables: sums of smooth curves, and hidden units if they lower the error."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import Optimizer

from kan_exp.data import Split
from kan_exp.layers import GridLayer, LayerSpec
from kan_exp.layers.constraints import constrain
from kan_exp.layers.walk import layers_of
from kan_exp.models.loading import network_of
from kan_exp.models.model import KANModel
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.smooth_search import Network, Search, refined
from kan_exp.optimizers.smoothing import Smoothing, State, map_tensors
from kan_exp.tasks import Task
from kan_exp.tasks.losses import Huber, Squared
from kan_exp.training.module import Constraints, KANModule
from kan_exp.training.smooth_layers import make_layers
from kan_exp.training.smooth_plan import Plan
from kan_exp.training.smooth_problems import SmoothProblems, joined, score_of

log = logging.getLogger(__name__)

# Phases: curves of the inputs; starts with hidden units, and the best of them; finer grids; the
# last fit to all points, from one or several starts, and the best of them.
CURVES, STARTS, KEPT, FINER, REFIT, REFIT_KEPT, DONE = range(7)
FINER_GAIN = 0.05  # by which the score must fall for finer grids to be kept
# Weights of penalties follow each of few points: below this number, folds are left out.
FEW = 100


class _Steps(Optimizer):
    """Counts steps for the trainer; the closure takes them."""

    def __init__(self, damping: float) -> None:
        super().__init__([nn.Parameter(torch.zeros(()))], {"damping": damping})

    def step(self, closure: Any = None) -> Any:
        return closure()


class SmoothingModule(KANModule):
    """Fits networks in which the data decide how smooth each edge is.

    First a sum of curves of the inputs, whose weights of bends and slopes are found by restricted
    maximum likelihood. Then hidden units are added, from several starts. They are kept if
    generalized cross-validation is lower with them and the validation points do not contradict.
    Where edges need more bends, grids become finer as long as that pays. The chosen network is
    fitted again to the training and the validation points.

    Args:
        model: The scaling, with a network to begin with.
        task: What is minimized.
        specs: The kind of each layer; the edges of other kinds than splines are fitted to those of
            the smooth network.
        dims: Widths from the input to the output; their middle is left to the data if `chooses`.
        chooses: Whether the data decide about hidden units.
        plan: Sizes of the training.
        points: Standardized training points.
        validation: Standardized validation points.
        optimizer: A partial `LevenbergMarquardt`, of which `damping` and `attempts` are used.
        seed: Of the starts.
        description: As for `KANModule`.
        masks: Which edges of each layer exist; all if not given.
        constraints: Makes the constraints of each layer from the widths; none if not given.
    """

    rate_name = "damping"
    logs_penalties = False
    selects = True

    def __init__(
        self,
        model: KANModel,
        task: Task,
        specs: Sequence[LayerSpec],
        dims: Sequence[int],
        chooses: bool,
        plan: Plan,
        points: Split,
        validation: Split,
        optimizer: Any,
        seed: int,
        description: Mapping[str, Any],
        masks: Sequence[Tensor] = (),
        constraints: Constraints | None = None,
    ) -> None:
        super().__init__(model, task, optimizer, None, {}, description)
        self.specs, self.dims, self.chooses = list(specs), list(dims), chooses
        self.plan, self.seed, self.masks = plan, seed, list(masks)
        self.points, self.validation = points.map(Tensor.double), validation.map(Tensor.double)
        self._all_grids = all(issubclass(kind, GridLayer) for kind, _ in specs)
        self._phase = CURVES
        self._search: Search | None = None
        # Of few rows, the validation points are those of the training.
        every = self.points if validation is points else joined(self.points, self.validation)
        self.problems = SmoothProblems(plan, self.loss, every, self.masks, constraints)
        # "curves"; "hidden", the best with hidden units; "all" of these; "coarse", the last grid's.
        self._kept: dict[str, Network] = {}
        self._placed = -1  # phase whose network is the model's
        self._before: tuple[float, dict[str, float]] | None = None
        self._restored: Mapping[str, Any] | None = None  # the state that the training resumes from
        self.chosen: dict[str, Any] = {}

    def _begin(self, problem: Smoothing, state: State, second: NaturalBasis | None) -> None:
        self._search = Search(problem, state, second, self._option("attempts"))

    @property
    def search(self) -> Search:
        """The search of the present phase."""
        assert self._search is not None
        return self._search

    def _option(self, name: str) -> Any:
        return self.optimizer_factory.keywords[name]  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        self.problems.to(self.device)
        for name in ("points", "validation"):
            setattr(self, name, getattr(self, name).map(lambda part: part.to(self.device)))
        if self._restored is not None:
            self._restore_search(move_data_to_device(self._restored, self.device))
        elif self._search is None:
            problem = self.problems.make(0, self.points)
            q = self.points.x.new_zeros(1, sum(problem.networks.shape.sizes))
            self._begin(problem, State.of(q, problem.start_weights(1), 1e-8), None)
        return _Steps(self._option("damping"))

    @property
    def size(self) -> str:
        if not self.chooses or not self.plan.hidden:
            return super().size
        first, hidden, last = self.dims
        return f"[{first},{last}] or [{first},{hidden},{last}], as the data decide"

    @property
    def summary(self) -> str:
        count = self.problems.networks(0, self.points.x[:1]).shape.additive
        parts = [f"smoothing by restricted maximum likelihood: curves of {count} functions"]
        if self.plan.hidden:
            starts, kept = self.plan.num_candidates
            parts.append(
                f"{self.plan.hidden} more hidden units from {starts} starts, of which {kept} are "
                f"continued"
            )
        return "; ".join(parts)

    # -- steps ---------------------------------------------------------------------------------

    def training_step(self, chunk: Split, _: int) -> None:
        optimizer = self._optimizer
        losses: list[Tensor] = []
        for _step in chunk.x:
            losses.append(cast(Tensor, optimizer.step(self._advance)))
            if self._phase == DONE:
                self.converged = "score"
                self.trainer.should_stop = True
            if self.trainer.should_stop:
                break
        # Other kinds of edges take long to fit.
        if self._all_grids or (self._phase in (STARTS, DONE) and self._placed != self._phase):
            self._place()
        self._observe()
        self._record(torch.stack(losses), [self._rate()] * len(losses), {})

    def _rate(self) -> float:
        return float(self.search.state.damping.min())

    def _diverged(self, what: str, step: int, rate: float) -> str:
        return f"the {what} is no number at step {step:,}: look at the data."

    def _advance(self) -> Tensor:
        criteria = self.search.step()
        while self._phase != DONE and self._is_over():
            self._next_phase()
        return criteria.loss.nan_to_num(torch.inf).min()

    def _is_over(self) -> bool:
        search = self.search
        settled = search.settled and self._phase not in (STARTS, REFIT)
        return search.steps > 0 and (settled or search.steps >= self._limit())

    def _limit(self) -> int:
        curves, starts, kept, finer, again = self.plan.steps
        several = len(self.search.state.q) > 1
        limits = {CURVES: curves, STARTS: starts, KEPT: starts + kept, FINER: finer}
        limits |= {REFIT: starts if several else again, REFIT_KEPT: starts + kept}
        return limits[self._phase]

    def _next_phase(self) -> None:
        search = self.search
        if self._phase == CURVES:
            self._kept["curves"] = search.winner()
            if self.plan.hidden:
                problem = self.problems.make(self.plan.hidden, self.points)
                curves, seed = self._kept["curves"], self.seed
                self._begin(problem, *self.problems.starts(problem, curves, self.points, seed))
                self._phase = STARTS
            else:
                self._choose()
        elif self._phase == STARTS or (self._phase == REFIT and len(search.state.q) > 1):
            search.keep(self.plan.num_candidates[1])
            self._phase += 1
        elif self._phase == KEPT:
            self._kept["hidden"] = search.winner()
            self._kept["all"] = cast(Network, search.best)
            self._choose()
        elif self._phase == FINER:
            finer, coarse = search.winner(), self._kept["coarse"]
            error = self.problems.losses(finer, self.validation).mean()
            self.problems.intervals //= 2  # those of the coarse one
            falls = bool(error < self.problems.losses(coarse, self.validation).mean())
            if falls and score_of(finer) < score_of(coarse) - FINER_GAIN:
                self.problems.intervals *= 2
                self._try_finer(finer)
            else:
                self._fit_again(coarse)
        else:
            self._finish()

    def _choose(self) -> None:
        """Keeps the hidden units if they pay, and continues with finer grids or the last fit."""
        curves, hidden = self._kept["curves"], self._kept.get("hidden")
        network, gain = curves, None
        if hidden is not None:
            gain = self.problems.gain(hidden, curves)
            if self.problems.pays(hidden, curves, self.points, self.validation):
                network = hidden
        self.chosen = {"hidden_units": network is hidden, "gain": gain}
        self._try_finer(network)

    def _try_finer(self, network: Network) -> None:
        """Begins with grids of twice as many intervals if edges use most of their bends."""
        problems = self.problems
        is_finest = 2 * problems.intervals > self.plan.max_intervals
        if is_finest or not problems.is_saturated(network):
            self._fit_again(network)
            return
        self._kept["coarse"] = network
        hidden = problems.units(network)
        old = problems.networks(hidden, self.points.x)
        problems.intervals *= 2
        problem = problems.make(hidden, self.points)
        state, second = refined(network, old, problem.networks)
        self._begin(problem, state, second)
        self._phase = FINER

    def _fit_again(self, network: Network) -> None:
        """Begins the last fit, to the training and the validation points."""
        hidden = self.problems.units(network)
        self._set_network(network, hidden)
        self._before = self._scores_of(cast(Any, self.trainer).datamodule.val)
        problem = self.problems.make(hidden, self.problems.every)
        if hidden and self.problems.intervals == self.plan.intervals:
            # With more points other directions may be better: some starts are new.
            network, curves = self._kept["all"], self._kept["curves"]
            fresh, basis = self.problems.starts(problem, curves, self.problems.every, self.seed + 1)
            both = partial(map_tensors, lambda *parts: torch.cat(parts))
            state, second = both(network.state, fresh), both(network.second, basis)
        else:
            state, second = network.state, network.second
        state = state._replace(damping=torch.full_like(state.damping, 1e-3))
        self._begin(problem, state, second)
        self._phase = REFIT

    def _finish(self) -> None:
        network = self.search.winner()
        noise = None
        if isinstance(self.loss, Squared | Huber):  # others are not in units of the target
            y_std = self.model.y_std.double().square().mean().sqrt()
            noise = float(network.criteria.noise.sqrt() * y_std.cpu())
        self.chosen |= {"noise": noise, "effective": float(network.criteria.effective)}
        self._phase = DONE
        if not self.masks:  # of which many are trained in turn
            log.info("%s", self._sentence())

    def _sentence(self) -> str:
        """One line: what was chosen and why."""
        gain, units = self.chosen["gain"], self.plan.hidden
        noise = self.chosen["noise"]
        what = f" and {units} hidden units" if self.chosen["hidden_units"] else ""
        if gain is not None:
            what += f" (cross-validation changes by {-gain:+.1%} with hidden units)"
        about = "" if noise is None else f"; noise {noise:.3g}"
        return (
            f"Chosen: sums of curves{what}{about}, {self.chosen['effective']:.1f} effective "
            f"parameters; fitted again to all {len(self.problems.every.x):,} training and "
            f"validation rows."
        )

    # -- the model -----------------------------------------------------------------------------

    def _place(self) -> None:
        """Makes the best network so far the model's."""
        search, curves = self.search, self._kept.get("curves")
        if search.best is None:  # the phase has just begun
            if self._phase == STARTS and curves is not None:
                self._set_network(curves, 0)
            return
        network, hidden = search.winner(), search.shape.hidden
        rival = curves if self._phase in (STARTS, KEPT) else None
        if rival is not None and score_of(network) >= score_of(rival):
            network, hidden = rival, 0
        self._set_network(network, hidden)

    def _set_network(self, network: Network, hidden: int) -> None:
        smooth = self.problems.networks(hidden, self.problems.every.x)
        generator = torch.Generator().manual_seed(self.seed)
        width = smooth.shape.outputs + hidden
        dims = self.dims
        if self.chooses:
            dims = [self.dims[0], *([width] if hidden else []), self.dims[-1]]
        specs = self.specs if len(self.specs) == len(dims) - 1 else self.specs[:1] * (len(dims) - 1)
        made = make_layers(specs, dims, smooth, network.state.q, network.second, generator)
        for layer, mask in zip(layers_of(made.network), self.masks, strict=False):
            layer.set_mask(mask)
        if constraints := self.problems.constraints(dims):
            constrain(made.network, constraints)
        self.model.network = made.network.to(self.device)
        self.description |= {"dims": list(dims), "layers": made.description}
        self._placed = self._phase

    def validation_step(self, split: Split, index: int) -> None:
        if self._before is None:
            super().validation_step(split, index)
        else:  # its points are among those that the last fit sees
            self._log_validation(*self._before)

    @property
    def validated(self) -> tuple[float, dict[str, float]] | None:
        return self._before

    @property
    def details(self) -> dict[str, Any]:
        if self._phase != DONE:
            return {}
        return {
            "chosen": "hidden units" if self.chosen["hidden_units"] else "curves",
            "effective_parameters": self.chosen["effective"],
            "noise": self.chosen["noise"],
        }

    @torch.no_grad()
    def left_out_errors(self) -> Tensor | None:
        """Standardized target minus output at points of the last fit without them, `(n, out)`.

        Each point is left out in turn, with the weights of penalties as they are; of few points,
        each of several folds, to the rest of which the weights are fitted, too.
        """
        if self._search is None or self._search.best is None:
            return None
        network, problem = self._search.winner(), self._search.problem
        if len(problem.y) >= FEW:
            return problem.y - problem.left_out(network.state, network.second)[0]
        split = self.problems.every if self._phase >= REFIT else self.points
        return self.problems.errors_of_folds(network, split, self._option("attempts"))

    # -- checkpoints ---------------------------------------------------------------------------

    def training_state(self) -> dict[str, Any]:
        return {
            **super().training_state(),
            "phase": self._phase,
            "hidden": self.search.shape.hidden,
            "search": self.search.to_dict(),
            "intervals": self.problems.intervals,
            "kept": {name: network.to_dict() for name, network in self._kept.items()},
            "before": self._before,
            "chosen": self.chosen,
            "placed": self._placed,
        }

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        progress = self._restored = checkpoint["progress"]
        self._phase, self._placed = progress["phase"], progress["placed"]
        self.problems.intervals = progress["intervals"]
        self._before, self.chosen = progress["before"], progress["chosen"]
        self.model.network = network_of(checkpoint["kan_exp"]).double()
        self.description = dict(checkpoint["kan_exp"])
        super().restore(checkpoint)

    def _restore_search(self, progress: Mapping[str, Any]) -> None:
        """Restores the networks of a state that is on the device of the training."""
        self._kept = {name: Network.from_dict(kept) for name, kept in progress["kept"].items()}
        split = self.problems.every if self._phase >= REFIT else self.points
        problem = self.problems.make(progress["hidden"], split)
        empty = State(*(self.points.x.new_empty(0),) * 3)
        self._begin(problem, empty, None)
        self.search.restore(progress["search"])
