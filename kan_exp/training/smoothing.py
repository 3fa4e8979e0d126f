"""Trains on noisy tables: sums of smooth curves, and hidden units beside them if they pay."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from lightning.pytorch.utilities import move_data_to_device
from torch import Tensor, nn
from torch.optim import Optimizer

from kan_exp.data import Split
from kan_exp.layers import GridLayer, LayerSpec
from kan_exp.layers.constraints import Constraint, constrain
from kan_exp.layers.walk import layers_of
from kan_exp.models.model import KANModel
from kan_exp.optimizers.natural_basis import NaturalBasis
from kan_exp.optimizers.pursuit import find_directions, residuals, start_beside
from kan_exp.optimizers.smooth_networks import Shape, SmoothNetworks
from kan_exp.optimizers.smooth_search import Network, Search, refined
from kan_exp.optimizers.smoothing import Smoothing, State
from kan_exp.tasks import Task
from kan_exp.tasks.losses import Huber, Squared
from kan_exp.training.module import Constraints, KANModule
from kan_exp.training.smooth_layers import make_layers
from kan_exp.training.smooth_plan import Plan

log = logging.getLogger(__name__)

# Phases: curves of the inputs; starts with hidden units, and those that go on; finer grids; on all
# points a start or several, and those that go on.
CURVES, STARTS, KEPT, FINER, AGAIN, AGAIN_KEPT, DONE = range(7)
SATURATED = 0.6  # share of an edge's bends in use from which on finer grids are tried
LEAST_GAIN = 0.01  # in generalized cross-validation, for hidden units to be taken
SUPPORT = 1  # standard errors by which points left out must speak for hidden units
VETO = 2  # standard errors by which validation points may not speak against them
FINER_GAIN = 0.05  # by which the score must fall for finer grids to be kept
# Weights of penalties follow each of few points: below this number, folds are left out.
FEW = 100
FOLDS = 10
FOLD_STEPS = 8  # of the fit to the others, which begins with the network of all points


class _Steps(Optimizer):
    """Counts steps for the trainer; the closure takes them."""

    def __init__(self, damping: float) -> None:
        super().__init__([nn.Parameter(torch.zeros(()))], {"damping": damping})

    def step(self, closure: Any = None) -> Any:
        return closure()


class SmoothingModule(KANModule):
    """Fits networks in which the data decide how smooth each edge is.

    First a sum of curves of the inputs, whose weights of bends and slopes are found by restricted
    maximum likelihood. Then hidden units beside it, from several starts. They are taken if
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
        description: Plain containers that say how to build the model again; kept in checkpoints.
        masks: Which edges of each layer exist; all if not given.
        constraints: Makes the constraints of each layer from the widths, see `layer_constraints`;
            none if not given.
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
        self.make_constraints = constraints
        self.specs, self.dims, self.chooses = list(specs), list(dims), chooses
        self.plan, self.seed, self.masks = plan, seed, list(masks)
        self.points, self.validation = points.map(Tensor.double), validation.map(Tensor.double)
        # Of few rows, the validation points are those of the training.
        self.every = self.points if validation is points else joined(self.points, self.validation)
        self._all_grids = all(issubclass(kind, GridLayer) for kind, _ in specs)
        self._phase = CURVES
        self._search: Search | None = None
        self._intervals = plan.intervals
        self._bases: dict[tuple[int, int], NaturalBasis] = {}  # by intervals and functions
        # "curves"; "hidden", the best with hidden units; "all" of these; "coarse", the last grid's.
        self._kept: dict[str, Network] = {}
        self._placed = -1  # phase whose network is the model's
        self._before: tuple[float, dict[str, float]] | None = None
        self._restored: Mapping[str, Any] | None = None  # the state that the training resumes from
        self.chosen: dict[str, Any] = {}

    # -- what is fitted ------------------------------------------------------------------------

    def _networks(self, hidden: int, x: Tensor) -> SmoothNetworks:
        plan = self.plan
        sizes = plan.functions(self._intervals, hidden)
        shape = Shape(plan.inputs, plan.outputs, hidden, *sizes)
        functions = max(shape.additive, shape.inner)
        size = self._intervals, functions
        if size not in self._bases:
            self._bases[size] = NaturalBasis.of(self.every.x, self._intervals, functions - 1)
        active = shape.active([mask.to(x.device) for mask in self.masks]) if self.masks else None
        return SmoothNetworks(shape, x, self._bases[size], active)

    def _problem(self, hidden: int, split: Split) -> Smoothing:
        networks = self._networks(hidden, split.x)
        shape = networks.shape
        dims = [shape.inputs, shape.outputs + hidden, shape.outputs]
        return Smoothing(networks, split.y, self.loss, split.weight, self._constraints_of(dims))

    def _constraints_of(self, dims: Sequence[int]) -> Sequence[Constraint]:
        return () if self.make_constraints is None else self.make_constraints(dims)

    def _begin(self, problem: Smoothing, state: State, second: NaturalBasis | None) -> None:
        self._search = Search(problem, state, second, self._option("attempts"))

    def _option(self, name: str) -> Any:
        return self.optimizer_factory.keywords[name]  # type: ignore[attr-defined]

    def configure_optimizers(self) -> Any:
        for name in ("points", "validation", "every"):
            setattr(self, name, getattr(self, name).map(lambda part: part.to(self.device)))
        self._bases.clear()  # they are where the points were
        if self._restored is not None:
            self._restore_search(move_data_to_device(self._restored, self.device))
        elif self._search is None:
            problem = self._problem(0, self.points)
            size = sum(problem.networks.shape.sizes)
            q = self.points.x.new_zeros(1, size)
            self._begin(problem, State.of(q, problem.start_weights(1), 1e-8), None)
        return _Steps(self._option("damping"))

    @property
    def size(self) -> str:
        if not self.chooses or not self.plan.hidden:
            return super().size
        ends = self.dims[0], self.dims[-1]
        return f"[{ends[0]},{ends[1]}] or [{ends[0]},{self.dims[1]},{ends[1]}], as the data decide"

    @property
    def summary(self) -> str:
        shape = self._networks(0, self.points.x[:1]).shape
        parts = [
            f"smoothing by restricted maximum likelihood: curves of {shape.additive} functions"
        ]
        if self.plan.hidden:
            starts, kept = self.plan.num_candidates
            parts.append(
                f"{self.plan.hidden} hidden units beside them from {starts} starts, of which "
                f"{kept} go on"
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
        if self._search is None:
            return float(self._option("damping"))
        return float(self._search.state.damping.min())

    def _diverged(self, what: str, step: int, rate: float) -> str:
        return f"the {what} is no number at step {step:,}: look at the data."

    def _advance(self) -> Tensor:
        search = self._search
        assert search is not None
        criteria = search.step()
        while self._phase != DONE and self._is_over():
            self._next_phase()
        return criteria.loss.nan_to_num(torch.inf).min()

    def _is_over(self) -> bool:
        search = self._search
        assert search is not None
        if search.steps == 0:
            return False
        return search.steps >= self._limit() or (
            search.settled and self._phase not in (STARTS, AGAIN)
        )

    def _limit(self) -> int:
        curves, starts, kept, finer, again = self.plan.steps
        search = self._search
        assert search is not None
        several = len(search.state.q) > 1
        limits = {CURVES: curves, STARTS: starts, KEPT: starts + kept, FINER: finer}
        limits |= {AGAIN: starts if several else again, AGAIN_KEPT: starts + kept}
        return limits[self._phase]

    def _next_phase(self) -> None:
        search = self._search
        assert search is not None
        if self._phase == CURVES:
            self._kept["curves"] = search.winner()
            if self.plan.hidden:
                self._start_hidden()
                self._phase = STARTS
            else:
                self._choose()
        elif self._phase == STARTS or (self._phase == AGAIN and len(search.state.q) > 1):
            search.keep(self.plan.num_candidates[1])
            self._phase += 1
        elif self._phase == KEPT:
            self._kept["hidden"] = search.winner()
            self._kept["all"] = cast(Network, search.best)
            self._choose()
        elif self._phase == FINER:
            finer, coarse = search.winner(), self._kept["coarse"]
            error = float(self._errors(finer).mean())
            self._intervals //= 2  # those of the coarse one
            falls = error < float(self._errors(coarse).mean())
            if falls and self._score(finer) < self._score(coarse) - FINER_GAIN:
                self._intervals *= 2
                self._try_finer(finer)
            else:
                self._fit_again(coarse)
        else:
            self._finish()

    @staticmethod
    def _score(network: Network) -> float:
        return float(network.criteria.score)

    def _start_hidden(self) -> None:
        problem = self._problem(self.plan.hidden, self.points)
        self._begin(problem, *self._starts(problem, self.points, self.seed))

    def _starts(self, problem: Smoothing, split: Split, seed: int) -> tuple[State, NaturalBasis]:
        """Networks with the curves found so far, and hidden units beside them."""
        curves = self._kept["curves"]
        outputs = self._networks(0, split.x).outputs(curves.state.q, None)
        missing = residuals(outputs, split.y, self.loss)
        generator = torch.Generator().manual_seed(seed)
        count = self.plan.num_candidates[0]
        monotone = [sign for one in self._constraints_of(self.dims)[:1] for sign in one.monotone]
        directions = find_directions(split.x, missing, self.plan.hidden, count, generator, monotone)
        return start_beside(curves.state, problem, directions)

    def _choose(self) -> None:
        """Takes the hidden units if they pay, and goes on with finer grids or the last fit."""
        curves, hidden = self._kept["curves"], self._kept.get("hidden")
        network = curves
        if hidden is not None and self._gain(hidden, curves) > LEAST_GAIN:
            # Cross-validation takes all points for equally noisy, which rows with filled gaps are
            # not: units that follow the noisiest seem to pay.
            left_out = _in_errors(self._left_out(hidden) - self._left_out(curves))
            validation = _in_errors(self._errors(hidden) - self._errors(curves))
            if left_out < -SUPPORT and validation <= VETO:
                network = hidden
        self.chosen = {
            "hidden_units": network is hidden,
            "gain": None if hidden is None else self._gain(hidden, curves),
        }
        self._try_finer(network)

    def _gain(self, network: Network, other: Network) -> float:
        """By which share cross-validation is lower."""
        own, old = self._score(network), self._score(other)
        if self.loss.dispersion is None:  # scores are logarithms
            return -math.expm1(own - old)
        return (old - own) / max(abs(old), torch.finfo(torch.float64).tiny)

    def _errors(self, network: Network) -> Tensor:
        """The loss at each validation point, `(n,)`."""
        networks = self._networks(self._units(network), self.validation.x)
        outputs = networks.outputs(network.state.q, network.second)
        return self.loss.weighted(outputs, self.validation.y, self.validation.weight)[0]

    def _left_out(self, network: Network) -> Tensor:
        """The loss at each training point without it, `(n,)`."""
        problem = self._problem(self._units(network), self.points)
        outputs = problem.left_out(network.state, network.second)
        return self.loss.weighted(outputs, self.points.y, problem.weight)[0]

    def _units(self, network: Network) -> int:
        return 0 if network.second is None else self.plan.hidden

    def _try_finer(self, network: Network) -> None:
        """Begins with grids of twice as many intervals if edges use most of their bends."""
        if 2 * self._intervals > self.plan.max_intervals or not self._is_saturated(network):
            self._fit_again(network)
            return
        self._kept["coarse"] = network
        hidden = self._units(network)
        old = self._networks(hidden, self.points.x)
        self._intervals *= 2
        problem = self._problem(hidden, self.points)
        state, second = refined(network, old, problem.networks)
        self._begin(problem, state, second)
        self._phase = FINER

    def _is_saturated(self, network: Network) -> bool:
        """Whether an edge uses most of its bends."""
        shape = self._networks(self._units(network), self.points.x[:1]).shape
        bends = shape.groups()[shape.numbers() > 1].unique()  # of edges that have several
        return bool((network.criteria.used[0].cpu()[bends] > SATURATED).any())

    def _fit_again(self, network: Network) -> None:
        """Begins the last fit, to the training and the validation points."""
        hidden = self._units(network)
        self._set_network(network, hidden)
        self._before = self._scores_of(cast(Any, self.trainer).datamodule.val)
        problem = self._problem(hidden, self.every)
        if hidden and self._intervals == self.plan.intervals:
            # With more points other directions may be better: some starts are new.
            network = self._kept["all"]
            fresh, basis = self._starts(problem, self.every, self.seed + 1)
            state = State(*map(torch.cat, zip(network.state, fresh, strict=True)))
            pairs = zip(cast(NaturalBasis, network.second), basis, strict=True)
            second: NaturalBasis | None = NaturalBasis(*map(torch.cat, pairs))
        else:
            state, second = network.state, network.second
        state = state._replace(damping=torch.full_like(state.damping, 1e-3))
        self._begin(problem, state, second)
        self._phase = AGAIN

    def _finish(self) -> None:
        assert self._search is not None
        network = self._search.winner()
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
        what = f"sums of curves and {units} hidden units" if self.chosen["hidden_units"] else ""
        what = what or "sums of curves"
        why = (
            "" if gain is None else f" (cross-validation changes by {-gain:+.1%} with hidden units)"
        )
        noise = self.chosen["noise"]
        about = "" if noise is None else f"; noise {noise:.3g}"
        return (
            f"Chosen: {what}{why}{about}, {self.chosen['effective']:.1f} effective parameters; "
            f"fitted again to all {len(self.every.x):,} training and validation rows."
        )

    # -- the model -----------------------------------------------------------------------------

    def _place(self) -> None:
        """Makes the best network so far the model's."""
        search, curves = self._search, self._kept.get("curves")
        assert search is not None
        if search.best is None:  # the phase has just begun
            if self._phase == STARTS and curves is not None:
                self._set_network(curves, 0)
            return
        network, hidden = search.winner(), search.shape.hidden
        rival = curves if self._phase in (STARTS, KEPT) else None
        if rival is not None and self._score(network) >= self._score(rival):
            network, hidden = rival, 0
        self._set_network(network, hidden)

    def _set_network(self, network: Network, hidden: int) -> None:
        smooth = self._networks(hidden, self.every.x)
        generator = torch.Generator().manual_seed(self.seed)
        width = smooth.shape.outputs + hidden
        dims = self.dims
        if self.chooses:
            dims = [self.dims[0], *([width] if hidden else []), self.dims[-1]]
        specs = self.specs if len(self.specs) == len(dims) - 1 else self.specs[:1] * (len(dims) - 1)
        made = make_layers(specs, dims, smooth, network.state.q, network.second, generator)
        for layer, mask in zip(layers_of(made.network), self.masks, strict=False):
            layer.set_mask(mask)
        if self.make_constraints is not None:
            constrain(made.network, self.make_constraints(dims))
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
        split = self.every if self._phase >= AGAIN else self.points
        # Copies of a point are left out together.
        fold = split.x.unique(dim=0, return_inverse=True)[1] % FOLDS
        return self._folds_left_out(network, split, fold) if fold.any() else None

    def _folds_left_out(self, network: Network, split: Split, fold: Tensor) -> Tensor:
        """The errors at the points of each fold of networks that are fitted to the others."""
        count = int(fold.max()) + 1
        one = torch.zeros(count, dtype=torch.long, device=fold.device)
        start, second, _ = network.take(one)
        others = (fold != torch.arange(count, device=fold.device).unsqueeze(1)).to(split.x)
        weight = others if split.weight is None else others * split.weight
        problem = self._problem(self._units(network), split._replace(weight=weight))
        # The weights forget the points that are left out.
        state = State.of(start.q, problem.start_weights(count), 1e-8)
        for _ in range(FOLD_STEPS):
            state, _ = problem.step(state, second, self._option("attempts"))
        outputs = problem.networks.outputs(state.q, second)
        return split.y - outputs[fold, torch.arange(len(fold), device=fold.device)]

    # -- checkpoints ---------------------------------------------------------------------------

    def training_state(self) -> dict[str, Any]:
        assert self._search is not None
        return {
            **super().training_state(),
            "phase": self._phase,
            "hidden": self._search.shape.hidden,
            "search": self._search.to_dict(),
            "intervals": self._intervals,
            "kept": {name: network.to_dict() for name, network in self._kept.items()},
            "before": self._before,
            "chosen": self.chosen,
            "placed": self._placed,
        }

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        progress = self._restored = checkpoint["progress"]
        self._phase, self._placed = progress["phase"], progress["placed"]
        self._intervals = progress["intervals"]
        self._before, self.chosen = progress["before"], progress["chosen"]
        self._restore_network(checkpoint)
        super().restore(checkpoint)

    def _restore_search(self, progress: Mapping[str, Any]) -> None:
        """Restores the networks of a state that is on the device of the training."""
        self._kept = {name: Network.from_dict(kept) for name, kept in progress["kept"].items()}
        split = self.every if self._phase >= AGAIN else self.points
        problem = self._problem(progress["hidden"], split)
        empty = State(*(self.points.x.new_empty(0),) * 3)
        self._begin(problem, empty, None)
        self._search.restore(progress["search"])  # type: ignore[union-attr]

    def _restore_network(self, checkpoint: Mapping[str, Any]) -> None:
        from kan_exp.models.loading import network_of

        self.model.network = network_of(checkpoint["kan_exp"]).double()
        self.description = dict(checkpoint["kan_exp"])


def joined(first: Split, other: Split) -> Split:
    """The points of both."""
    weight = None
    if first.weight is not None and other.weight is not None:
        weight = torch.cat([first.weight, other.weight])
    return Split(torch.cat([first.x, other.x]), torch.cat([first.y, other.y]), weight)


def _in_errors(changes: Tensor) -> float:
    """The mean of changes `(n,)` in standard errors."""
    if len(changes) < 2:
        return 0.0
    error = float(changes.std()) / math.sqrt(len(changes))
    return float(changes.mean()) / max(error, torch.finfo(torch.float64).tiny)
