# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Differential equations: errors after the same seconds, next to jaxKAN's and DeepXDE's networks.

python benchmarks/pde.py                                all problems
python benchmarks/pde.py --problems heat poisson --seconds 20
python benchmarks/pde.py --own                          without peers
python benchmarks/pde.py --seeds 10                     how errors vary, for all of conf/pde/

Each problem is that of conf/pde/, with its points and its weights: peers minimize the same sum at
the same points, and where a solution meets conditions by a factor and an offset, theirs does.
(Where kan_exp has more points at a front, peers have as many even ones.) Each has the processor
seconds that kan_exp took, on one core, not counting those in which JAX compiles. jaxKAN has a KAN
of splines, DeepXDE (on PyTorch) a tanh network, of widths chosen here and not tuned; both in
float64. Their optimizers are adam (learning rate 1e-3); adam for half of the time, then L-BFGS; and
of DeepXDE adam and L-BFGS for a third each, then NNCG. Errors are relative Euclidean norms at the
problem's test points, of one seed.

With --seeds nothing is compared: each problem is solved from so many seeds of network, points and
noise, and the table has the errors of each unknown function and each unknown coefficient; beside
the latter, those of the exact solution that fits the same noisy values best.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, cast

os.environ.setdefault("DDE_BACKEND", "pytorch")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from kan_exp.data import Split
from kan_exp.data.equation import EquationData
from kan_exp.equations.points import draw_points
from kan_exp.preparing.experiment import make_experiment
from kan_exp.preparing.translation import run_config
from kan_exp.training.equations import Residue
from kan_exp.training.result import Result

RATE = 1e-3
CONFIGS = Path(__file__).parents[1] / "conf" / "pde"
WIDTHS = {"jaxKAN": (8, 8), "DeepXDE": (32, 32, 32)}

# Of a library (numpy's names), inputs, and derivatives by their names and the output's place.
Function = Callable[[Any, Sequence[Any], Callable[..., Any]], Sequence[Any]]


class Case(NamedTuple):
    """A problem as peers take it: residuals inside, and of each condition in the config's order."""

    inside: Function
    conditions: Sequence[Function] = ()
    # What an output `(..., 1)` is multiplied by, and what is added, at points `(..., in)`.
    factor: Callable[[Any], Any] | None = None
    offset: Callable[[Any, Any], Any] = lambda m, x: 0.0


def value(m: Any, x: Any, d: Any) -> list[Any]:
    return [d("")]


PI = np.pi


def square(x: Any) -> Any:
    """Zero on the border of the square from -1 to 1."""
    return (1 - x[..., :1] ** 2) * (1 - x[..., 1:] ** 2)


CASES = {
    "poisson": Case(
        lambda m, x, d: [d("xx") + d("yy") + 2 * PI**2 * m.sin(PI * x[0]) * m.sin(PI * x[1])],
        factor=square,
    ),
    "helmholtz": Case(
        lambda m, x, d: [
            d("xx") + d("yy") + d("") - (1 - 17 * PI**2) * m.sin(PI * x[0]) * m.sin(4 * PI * x[1])
        ],
        factor=square,
    ),
    "heat": Case(
        lambda m, x, d: [d("y") - 0.1 * d("xx")],
        [lambda m, x, d: [d("") - m.sin(PI * x[0])], value, value],
    ),
    "burgers": Case(
        lambda m, x, d: [d("y") + d("") * d("x") - 0.01 / PI * d("xx")],
        factor=lambda x: (
            x[..., 1:] * (1 - x[..., :1] ** 2) * x[..., :1] / (x[..., :1] ** 2 + 1e-4) ** 0.5
        ),
        offset=lambda m, x: -m.sin(PI * x[..., :1]),
    ),
    "lotka_volterra": Case(
        lambda m, x, d: [
            d("x") - 2 * d("") / 3 + 4 * d("") * d("", 1) / 3,
            d("x", 1) - d("") * d("", 1) + d("", 1),
        ],
        [lambda m, x, d: [d("") - 1, d("", 1) - 1]],
    ),
}


class Points(NamedTuple):
    """What peers are given: points and weight of each relation, and those of the test."""

    relations: Sequence[tuple[np.ndarray, float]]
    x: np.ndarray
    y: np.ndarray
    bounds: np.ndarray  # (in, 2)

    def error(self, predicted: np.ndarray) -> float:
        return float(np.linalg.norm(predicted - self.y) / np.linalg.norm(self.y))


class Clock:
    """Processor seconds, which can be stopped."""

    def __init__(self, seconds: float) -> None:
        self.end = time.process_time() + seconds

    @property
    def is_over(self) -> bool:
        return time.process_time() > self.end


def fit(name: str, options: Sequence[str]) -> tuple[Result, float]:
    """kan_exp's result, and its processor seconds."""
    with tempfile.TemporaryDirectory() as folder:
        config = run_config([f"pde={name}", "logger=none", *options], Path(folder))
        experiment = make_experiment(config)
        start = time.process_time()
        return experiment.fit(), time.process_time() - start


def errors_of(result: Result) -> dict[str, float]:
    """The relative error of each unknown function, and of each unknown coefficient."""
    data = cast(EquationData, result.data)
    problem: Any = data.problem
    norms = (result.predictions - result.truth).norm(dim=0) / result.truth.norm(dim=0)
    errors = dict(zip(problem.outputs, norms.tolist(), strict=True))
    for name, value in result.metrics.get("coefficients", {}).items():
        true = getattr(problem.solution, name)
        errors[name] = abs(value / true - 1)
        errors[f"{name} by exact solutions"] = abs(_best_fit(data, true) / true - 1)
    return errors


def _best_fit(data: EquationData, true: float) -> float:
    """The coefficient of the exact solution that fits what is observed best."""
    from scipy.optimize import minimize_scalar

    x, y = cast(Split, data.observations)[:2]
    make = type(cast(Any, data.problem.solution))

    def misfit(log: float) -> float:
        return float((make(true * math.exp(log))(x) - y).square().sum())

    return true * math.exp(minimize_scalar(misfit, bracket=(-0.1, 0.1)).x)


def vary(names: Sequence[str], seeds: int, options: Sequence[str]) -> None:
    """Prints how the errors vary with the seed."""
    print("| problem | seconds | error of | best | median | worst | worst / median |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in names:
        runs = [fit(name, [f"seed={seed}", f"data.seed={seed}", *options]) for seed in range(seeds)]
        seconds = median(taken for _, taken in runs)
        errors = [errors_of(result) for result, _ in runs]
        for what in errors[0]:
            each = [one[what] for one in errors]
            middle, worst = median(each), max(each)
            print(
                f"| {name} | {seconds:.0f} | {what} | {min(each):.1e} | {middle:.1e} | "
                f"{worst:.1e} | {worst / middle:.1f} |",
                flush=True,
            )


def solve(name: str, options: Sequence[str]) -> tuple[float, float, int, Points]:
    """kan_exp's error, its seconds and its parameters, and the points of the problem."""
    result, seconds = fit(name, options)
    data: Any = result.data
    residue = Residue(data, data.problem.num_continuations - 1)
    counts, draws = data.problem.points, data.generator(0)
    relations = []
    for number, one in enumerate(data.relations):
        count = int(counts["edge" if number else "interior"])
        x = draw_points(data.problem, one.relation, count, residue.ranges, draws)
        relations.append((x.numpy(), one.relation.weight))
    points = Points(relations, data.test.x.numpy(), data.test.y.numpy(), data.bounds.numpy())
    metrics = result.metrics
    return metrics["test_relative_error"], seconds, metrics["parameters"], points


def jaxkan(case: Case, points: Points, seconds: float, then: Sequence[str]) -> tuple[float, int]:
    """Error and parameters of jaxKAN's network; optimizers share the seconds."""
    import jax
    import optax
    from flax import nnx
    from jax import numpy as jnp
    from jax.flatten_util import ravel_pytree
    from jaxkan.models.KAN import KAN

    jax.config.update("jax_enable_x64", True)
    size, outputs = points.x.shape[1], points.y.shape[1]
    splines = {"k": 5, "G": 8}
    model = KAN([size, *WIDTHS["jaxKAN"], outputs], "spline", splines, seed=0)
    graph, weights, rest = nnx.split(model, nnx.Param, ...)
    weights = jax.tree.map(lambda part: part.astype(jnp.float64), weights)
    low, high = jnp.asarray(points.bounds.T)

    def network(weights: Any, x: Any) -> Any:
        out = nnx.merge(graph, weights, rest)((2 * (x - low) / (high - low) - 1)[None])[0]
        return out if case.factor is None else case.offset(jnp, x) + case.factor(x) * out

    def residuals(weights: Any, function: Function, x: Any) -> Any:
        def derivative(name: str, output: int = 0) -> Any:
            made: Any = lambda x: network(weights, x)[output]  # noqa: E731
            for letter in name:
                place = "xy".index(letter)
                made = lambda x, made=made, k=place: jax.grad(made)(x)[k]  # noqa: E731
            return made(x)

        return jnp.stack(function(jnp, x, derivative))

    functions = [case.inside, *case.conditions]

    def loss(weights: Any) -> Any:
        total = 0.0
        for function, (x, weight) in zip(functions, points.relations, strict=True):
            left = jax.vmap(residuals, (None, None, 0))(weights, function, jnp.asarray(x))
            total += weight * (left**2).sum(1).mean()
        return total

    flat, unravel = ravel_pytree(weights)
    evaluate = jax.jit(jax.value_and_grad(lambda flat: loss(unravel(flat))))
    jax.block_until_ready(evaluate(flat))  # compiles
    for kind in then:
        clock = Clock(seconds / len(then))
        if kind == "adam":
            rule = optax.adam(RATE)
            state = rule.init(flat)
            follow = jax.jit(rule.update)
            while not clock.is_over:
                change, state = follow(evaluate(flat)[1], state)
                flat = jax.block_until_ready(flat + change)
        else:
            flat = _lbfgs(evaluate, flat, clock)
    weights = unravel(jnp.asarray(flat))
    found = jax.vmap(network, (None, 0))(weights, jnp.asarray(points.x))
    return points.error(np.asarray(found)), sum(part.size for part in jax.tree.leaves(weights))


def _lbfgs(evaluate: Callable[[Any], Any], start: Any, clock: Clock) -> Any:
    from scipy.optimize import minimize

    def measure(flat: Any) -> tuple[float, np.ndarray]:
        number, slope = evaluate(flat)
        return float(number), np.array(slope, dtype=float)

    def watch(intermediate_result: Any) -> None:
        if clock.is_over:
            raise StopIteration

    limits = {"maxiter": 10**7, "maxfun": 10**7, "maxcor": 100, "ftol": 0, "gtol": 0}
    start = np.array(start, dtype=float)
    return minimize(measure, start, jac=True, callback=watch, options=limits, method="L-BFGS-B").x


def deepxde(case: Case, points: Points, seconds: float, then: Sequence[str]) -> tuple[float, int]:
    """Error and parameters of DeepXDE's network; optimizers share the seconds."""
    import deepxde as dde

    dde.config.set_default_float("float64")
    dde.config.set_random_seed(0)
    size, outputs = points.x.shape[1], points.y.shape[1]

    def derivatives(x: Any, y: Any) -> Callable[..., Any]:
        def derivative(name: str, output: int = 0) -> Any:
            places = ["xy".index(letter) for letter in name]
            if not places:
                return y[:, output : output + 1]
            if len(places) == 1:
                return dde.grad.jacobian(y, x, i=output, j=places[0])
            return dde.grad.hessian(y, x, component=output, i=places[0], j=places[1])

        return derivative

    def evaluate(function: Function, x: Any, y: Any) -> list[Any]:
        return [*function(torch, x.split(1, 1), derivatives(x, y))]

    conditions, weights = [], []
    inside, *others = points.relations
    probe = torch.zeros(1, size, dtype=torch.float64, requires_grad=True)
    like = (probe.sum(1, keepdim=True) ** 3).expand(-1, outputs)
    for function, (x, weight) in zip(case.conditions, others, strict=True):
        for number in range(len(evaluate(function, probe, like))):
            conditions.append(
                dde.icbc.PointSetOperatorBC(
                    x,
                    np.zeros((len(x), 1)),
                    lambda x, y, _, f=function, k=number: evaluate(f, x, y)[k],
                )
            )
            weights.append(weight)
    dde.grad.clear()
    low, high = points.bounds.T
    box = (
        dde.geometry.Interval(*points.bounds[0]) if size == 1 else dde.geometry.Rectangle(low, high)
    )
    data = dde.data.PDE(
        box, lambda x, y: evaluate(case.inside, x, y), conditions, 0, 0, anchors=inside[0]
    )
    net = dde.nn.FNN([size, *WIDTHS["DeepXDE"], outputs], "tanh", "Glorot normal")
    ends = torch.tensor(points.bounds.T)
    net.apply_feature_transform(lambda x: 2 * (x - ends[0]) / (ends[1] - ends[0]) - 1)
    if case.factor is not None:
        net.apply_output_transform(lambda x, y: case.offset(torch, x) + case.factor(x) * y)
    model = dde.Model(data, net)

    class Until(dde.callbacks.Callback):
        def __init__(self, seconds: float) -> None:
            super().__init__()
            self.clock = Clock(seconds)

        def on_epoch_end(self) -> None:
            if self.clock.is_over:
                self.model.stop_training = True

    equations = outputs  # as many inside as there are functions
    all_weights = [inside[1]] * equations + weights
    dde.optimizers.set_LBFGS_options(maxiter=10**7)
    # It looks at the clock after so many.
    dde.optimizers.config.LBFGS_options |= {"iter_per_step": 20, "fun_per_step": 25}
    dde.optimizers.set_NNCG_options(cgmaxiter=100)
    for kind in then:
        model.compile(
            kind, lr=RATE if kind == "adam" else None, loss_weights=all_weights, verbose=0
        )
        model.train(
            iterations=None if kind == "L-BFGS" else 10**7,
            display_every=10**7,
            callbacks=[Until(seconds / len(then))],
            verbose=0,
        )
    return points.error(model.predict(points.x)), sum(part.numel() for part in net.parameters())


def peers() -> Iterator[tuple[str, Callable[..., tuple[float, int]], tuple[str, ...]]]:
    """Their networks with each of their optimizers, if they are installed."""
    chains = [("adam",), ("adam", "L-BFGS")]
    if find_spec("jaxkan"):
        yield from (("jaxKAN", jaxkan, chain) for chain in chains)
    if find_spec("deepxde"):
        yield from (("DeepXDE", deepxde, chain) for chain in [*chains, ("adam", "L-BFGS", "NNCG")])


def main() -> None:
    parser = argparse.ArgumentParser(description="errors of solutions after the same seconds")
    parser.add_argument("--problems", nargs="+", help="names in conf/pde/; all if not given")
    parser.add_argument("--seconds", type=float, help="of peers, in the place of kan_exp's")
    parser.add_argument("--own", action="store_true", help="without peers")
    parser.add_argument("--seeds", type=int, help="of kan_exp alone: how errors vary")
    parser.add_argument("options", nargs="*", default=[], help="of kan_exp, such as seed=1")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if hasattr(os, "sched_setaffinity"):  # JAX has no option for its threads
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    if arguments.seeds:
        every = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
        vary(arguments.problems or every, arguments.seeds, arguments.options)
        return
    print("| problem | network | trained by | parameters | seconds | relative error | times |")
    print("| --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for name in arguments.problems or CASES:
        own, seconds, size, points = solve(name, arguments.options)
        print(f"| {name} | kan_exp | least squares | {size:,} | {seconds:.0f} | {own:.1e} | 1 |")
        given = arguments.seconds or seconds
        for peer, train, chain in () if arguments.own else peers():
            error, size = train(CASES[name], points, given, chain)
            print(
                f"| {name} | {peer} | {', '.join(chain)} | {size:,} | {given:.0f} | {error:.1e} | "
                f"{error / own:,.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
