# ruff: noqa: T201 - a benchmark's output is its purpose.
"""How often the search finds the formula of data: rates of recovery, next to other programs.

python benchmarks/formulas.py                            the 30 Feynman equations to develop on
python benchmarks/formulas.py --split test --jobs 2      the other 70, of which only rates are shown
python benchmarks/formulas.py --problems two-inputs      14 problems, three seeds, 200 points
python benchmarks/formulas.py --problems none            20 targets that have no formula
python benchmarks/formulas.py --problems idle            inputs without effect beside the true ones
python benchmarks/formulas.py --peers pyoperon gplearn   also other programs, on the same points

Points are uniform in the ranges of the inputs, the target's noise is normal, in units of its
deviation. Every fit has one thread. Judged on 2,000 fresh points without noise:

solved: the formula is a symbolic solution, in the sense of SRBench, and has no superfluous
constant. It differs from the truth by a constant, or is a constant times the truth, to 1e-7 of the
truth's deviation. Without noise its constants must be right as they are. With noise its free
constants are fitted to the points first, so its form must contain the truth, and its exact
constants must be right. A free constant is superfluous
  - if its fitted value changes nothing: 0 as a term, 0, 1 or -1 as a factor, 0 or 1 as an exponent
    (one such factor, or term, of the whole formula is allowed, as a solution may have it);
  - if the others can replace it, as in (a*b)*x, or if another one has the same value.
superfluous: the form contains the truth, and has such constants.
wrong: any other formula. "Claimed" means that the search said of it that it is found.
accurate: R2 above 0.999.

Unlike in SRBench, constants are not rounded to three decimals, but for constants of peers that are
then 0, 1 or -1, after SymPy has collected them. Numbers compare it with the truth, since
SymPy cannot simplify every difference.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import itertools
import math
import multiprocessing
import random
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kan_exp.symbolic.expression import (
    Call,
    Constant,
    Expression,
    Input,
    Power,
    Product,
    Sum,
    exact,
)
from kan_exp.symbolic.functions import expression_of
from kan_exp.symbolic.refit import refit
from kan_exp.symbolic.search import search
from kan_exp.targets.formula import Formula

Floats = NDArray[np.float64]
Function = Callable[[Floats], Floats]

FRESH = 2_000  # points on which formulas are judged
VERDICTS = ("solved", "superfluous", "wrong", "nothing", "no truth")
SAME = 1e-7  # of the truth's deviation
ACCURATE = 0.999
NEUTRAL = 1e-5  # distance of a fitted constant from 0, 1 or -1
RANK = 1e-8

# Truth, and the least and greatest value of each of its inputs.
TWO_INPUTS = {
    "expsin": ("exp(sin(pi*x)+y**2)", "x:-1:1 y:-1:1"),
    "xy": ("x*y", "x:-1:1 y:-1:1"),
    "x/y": ("x/y", "x:-1:1 y:1:3"),
    "norm": ("sqrt(x**2+y**2+1)", "x:-2:2 y:-2:2"),
    "sin(xy)": ("sin(x*y)", "x:-2:2 y:-2:2"),
    "gaussdiff": ("exp(-(x-y)**2)", "x:-1:1 y:-1:1"),
    "veladd": ("(x+y)/(1+x*y)", "x:0:0.9 y:0:0.9"),
    "sin3x+y3": ("sin(3*x)+y**3", "x:-1:1 y:-1:1"),
    "tanh*y": ("tanh(2*x)*y", "x:-1:1 y:-1:1"),
    "log1": ("log(1+x**2+y**2)", "x:-2:2 y:-2:2"),
    "lorentz2": ("1/(1+x**2+y**2)", "x:-2:2 y:-2:2"),
    "xexp-y": ("x*exp(-y)", "x:-1:1 y:0:3"),
    "xyz": ("x*y*z", "x:-1:1 y:-1:1 z:-1:1"),
    "coslaw": ("sqrt(x**2+y**2-2*x*y*cos(z))", "x:1:3 y:1:3 z:0:3"),
}
WITH_IDLE = {
    **{name: TWO_INPUTS[name] for name in ("expsin", "x/y", "norm", "tanh*y", "log1", "xyz")},
    "line": ("2*x-3*y+0.5", "x:-1:1 y:-1:1"),
    "sine": ("sin(2*x)", "x:-2:2"),
    "decay": ("3*exp(-x/2)", "x:0:4"),
    "I.12.2": ("x*y/(4*pi*z**2)", "x:1:5 y:1:5 z:1:5"),
    "II.15.4": ("-x*y*cos(z)", "x:1:5 y:1:5 z:1:5"),
    "I.10.7": ("x/sqrt(1-y**2/z**2)", "x:1:5 y:1:2 z:3:10"),
}
# Columns without effect come between the true ones, too.
IDLE_FIRST = 1


class Target(NamedTuple):
    """Data to be explained. `idle` are the columns that have no effect."""

    name: str
    values: Function
    ranges: Floats  # (in, 2)
    truth: Expression | None = None
    idle: tuple[int, ...] = ()


class Answer(NamedTuple):
    formula: Expression | None
    claimed: bool = False
    text: str = ""


class Task(NamedTuple):
    method: str
    target: Target
    noise: float
    rows: int
    seconds: float
    seed: int
    processor: bool


class Outcome(NamedTuple):
    verdict: str  # of VERDICTS, or too slow, or crashed
    r2: float = -math.inf
    claimed: bool = False
    wall: float = math.nan
    processor: float = math.nan
    ignored: bool = True  # whether the formula is free of inputs without effect
    text: str = ""


Method = Callable[[Floats, Floats, float, int], Answer]


# --- targets --------------------------------------------------------------------------------


def target_of(name: str, text: str, inputs: str) -> Target:
    """A target from a formula, and its inputs as `name:low:high`, with blanks between them."""
    parts = [part.split(":") for part in inputs.split()]
    places = {name: f"x{k}" for k, (name, _, _) in enumerate(parts)}
    # Inputs such as I, e and lambda mean something else elsewhere.
    renamed = re.sub(r"[A-Za-z_]\w*", lambda word: places.get(word[0], word[0]), text)
    truth = expression_of(Formula(renamed, list(places.values())))
    ranges = np.array([[float(low), float(high)] for _, low, high in parts])
    return Target(name, truth, ranges, truth)


def feynman(split: str) -> list[Target]:
    with Path(__file__).with_name("feynman.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["name"] for row in rows]
    develop = set(random.Random(0).sample(names, 30))
    wanted = {"develop": develop, "test": {*names} - develop, "all": {*names}}[split]
    targets = [target_of(row["name"], row["formula"], row["inputs"]) for row in rows]
    return [target for target in targets if target.name in wanted]


def with_idle(target: Target, count: int) -> Target:
    """The same target with inputs that have no effect, the first of them before the others."""
    width = len(target.ranges)
    columns = np.arange(width) + IDLE_FIRST
    idle = (*range(IDLE_FIRST), *range(width + IDLE_FIRST, width + count))
    ranges = np.tile(target.ranges[:1], (width + count, 1))
    ranges[columns] = target.ranges
    assert target.truth is not None
    truth = target.truth.substituted([Input(int(column)) for column in columns])
    return Target(f"{target.name} and {count}", truth, ranges, truth, idle)


def without_formula() -> list[Target]:
    """Noise, sums of Bessel functions, and networks with random weights."""
    from scipy.special import j0

    generator = np.random.default_rng(0)
    targets: list[Target] = []
    for width in (1, 2, 3, 4, 2):
        drawn = np.random.default_rng([1, len(targets)])
        values = _noise(drawn)
        targets.append(Target(f"noise of {width}, {len(targets)}", values, _square(width)))
    for rates in ((3,), (8,), (4, 7), (20, 20), (3, 5, 2)):
        scale = np.array(rates, np.float64)
        values = _bessel(j0, scale)
        targets.append(Target(f"j0 {rates}", values, _square(len(rates))))
    for number, width in enumerate((1, 1, 2, 2, 2, 3, 3, 4, 4, 5)):
        weights = [
            generator.normal(0, spread / math.sqrt(rows), (rows, columns))
            for rows, columns, spread in ((width, 8, 3), (8, 8, 2), (8, 1, 1))
        ]
        shifts = generator.normal(0, 1, (2, 8))
        targets.append(Target(f"network {number}", _network(weights, shifts), _square(width)))
    return targets


def _square(width: int) -> Floats:
    return np.tile([-1.0, 1.0], (width, 1))


def _noise(drawn: np.random.Generator) -> Function:
    return lambda x: drawn.normal(size=len(x))


def _bessel(j0: Function, rates: Floats) -> Function:
    return lambda x: j0(rates * x).sum(1)


def _network(weights: Sequence[Floats], shifts: Floats) -> Function:
    def values(x: Floats) -> Floats:
        for weight, shift in zip(weights, shifts, strict=False):
            x = np.tanh(x @ weight + shift)
        return (x @ weights[-1])[:, 0]

    return values


def sampled(target: Target, rows: int, seed: int, stream: int) -> tuple[Floats, Floats]:
    """Points `(rows, in)` and values `(rows,)`, without noise, the same ones for every method."""
    generator = np.random.default_rng([seed, zlib.crc32(target.name.encode()), stream])
    low, high = target.ranges.T
    x = generator.uniform(low, high, (rows, len(low)))
    y = target.values(x)
    known = np.isfinite(y)
    return x[known], y[known]


def is_monomial(target: Target) -> bool:
    """Whether the truth is a constant times powers of inputs: log|y| is linear in log|x|."""
    if target.truth is None:
        return False
    x, y = sampled(target, 500, 0, 9)
    design = np.column_stack([np.ones(len(x)), np.log(np.abs(x))])
    with np.errstate(divide="ignore"):
        logarithm = np.log(np.abs(y))
    if not np.isfinite(logarithm).all():
        return False
    left = logarithm - design @ np.linalg.lstsq(design, logarithm, rcond=None)[0]
    return bool(np.abs(left).max() < 1e-9)


# --- judging --------------------------------------------------------------------------------


def judge(formula: Expression, truth: Expression, x: Floats, noisy: bool) -> str:
    """Compares a formula with the truth at points `(n, in)`, as the docstring of this file says.

    Returns:
        solved, superfluous or wrong.
    """
    y = truth(x)
    fitted = refit(formula, x, y, steps=300, tolerance=0).expression
    if not _same((fitted if noisy else formula)(x), y):
        return "wrong"
    return "superfluous" if has_superfluous(fitted, x) else "solved"


def _same(values: Floats, y: Floats) -> bool:
    if not np.isfinite(values).all() or np.ptp(values) == 0:
        return False
    limit = SAME * y.std()
    difference = values - y
    factor = float(values @ y) / float(y @ y)
    by_term = float(np.abs(difference - difference.mean()).max())
    by_factor = float(np.abs(values / factor - y).max()) if factor else math.inf
    return min(by_term, by_factor) < limit


def has_superfluous(formula: Expression, x: Floats) -> bool:
    """Whether a fitted formula has free constants that it does not need."""
    values, slopes = formula.jacobian(x)
    constants = formula.constants
    if not len(constants):
        return False
    lengths = np.linalg.norm(slopes, axis=0)
    if not np.isfinite(lengths).all() or not lengths.all():
        return True
    rank = np.linalg.matrix_rank(slopes / lengths, tol=RANK)
    if rank < len(constants):
        return True
    # What scales or shifts the whole formula is allowed once.
    outer = [_proportional(slope, values) or np.ptp(slope) < NEUTRAL for slope in slopes.T]
    neutral = np.array(list(_neutral(formula)))
    spared = np.flatnonzero(neutral & outer)[:1]
    if np.delete(neutral, spared).any():
        return True
    sizes = np.sort(np.abs(np.delete(constants, spared)))
    return bool((np.diff(sizes) < NEUTRAL * sizes[1:]).any())


def _proportional(left: Floats, right: Floats) -> bool:
    lengths = float(np.linalg.norm(left)) * float(np.linalg.norm(right))
    cosine = float(left @ right) / max(lengths, 1e-300)
    return abs(cosine) > 1 - 1e-12


def _neutral(node: Expression, values: tuple[float, ...] = ()) -> Iterator[bool]:
    """Of each free constant, in order, whether its value changes nothing where it is."""
    if isinstance(node, Constant) and node.free:
        yield any(abs(node.value - value) < NEUTRAL for value in values)
    for place, child in enumerate(node.children()):
        match node:
            case Sum():
                changing_nothing: tuple[float, ...] = (0,)
            case Product():
                changing_nothing = (-1, 0, 1)
            case Power():
                changing_nothing = (0, 1) if place == 1 else ()
            case _:
                changing_nothing = ()
        yield from _neutral(child, changing_nothing)


# --- methods --------------------------------------------------------------------------------


def own(x: Floats, y: Floats, seconds: float, seed: int) -> Answer:
    found = search(x, y, seconds=seconds, seed=seed)
    if found.best is None:
        return Answer(None)
    return Answer(found.best.expression, found.found, text_of(found.best.expression))


def text_of(formula: Expression) -> str:
    names = [f"x{k}" for k in range(1 + max(formula.inputs, default=0))]
    return str(formula.sympy(names))


def of_peer(formula: Expression, width: int) -> Answer:
    """A formula as SymPy writes it, its constants free but for what rounds to 0, 1 or -1."""
    import sympy

    names = [f"x{k}" for k in range(width)]
    real = {sympy.Symbol(name): sympy.Symbol(name, real=True) for name in names}
    collected = str(_freed(formula).sympy(names).subs(real))  # a product has one number
    text = re.sub(r"\bE\b", "e", collected.replace("Abs", "abs"))
    return Answer(_freed(expression_of(Formula(text, names))), text=text)


def _freed(node: Expression) -> Expression:
    if isinstance(node, Constant):
        near = round(node.value)
        known = abs(node.value - near) < (5e-4 if abs(near) < 2 else 1e-12)
        return exact(near) if known else Constant(node.value)
    return node.rebuilt([_freed(child) for child in node.children()])


def pyoperon(x: Floats, y: Floats, seconds: float, seed: int) -> Answer:
    from pyoperon.sklearn import SymbolicRegressor

    model = SymbolicRegressor(
        allowed_symbols="add,sub,mul,div,constant,variable,sin,cos,exp,log,sqrt,square,tanh",
        optimizer_iterations=10,
        max_length=30,
        generations=1_000_000,
        max_evaluations=2**31 - 1,
        max_time=math.ceil(seconds),
        n_threads=1,
        random_state=seed,
    ).fit(x, y)
    names = [f"x{k}" for k in range(x.shape[1])]
    text = model.get_model_string(model.model_, precision=15).replace("^", "**")
    text = re.sub(r"\bX(\d+)\b", lambda word: f"x{int(word[1]) - 1}", text)
    return of_peer(expression_of(Formula(text, names)), len(names))


def gplearn(x: Floats, y: Floats, seconds: float, seed: int) -> Answer:
    from gplearn.functions import make_function
    from gplearn.genetic import SymbolicRegressor

    exponential = make_function(
        function=lambda z: np.exp(np.clip(z, None, 50)), name="exp", arity=1, wrap=False
    )
    began = time.monotonic()
    names = ("add", "sub", "mul", "div", "sqrt", "log", "sin", "cos")
    settings = {"metric": "mse", "function_set": (*names, exponential), "random_state": seed}
    model = SymbolicRegressor(generations=1, warm_start=True, **settings).fit(x, y)
    while time.monotonic() - began < seconds and model._program.raw_fitness_ > 1e-20:
        model.set_params(generations=model.generations + 1).fit(x, y)
    stack: list[Expression] = []
    for item in reversed(model._program.program):
        if isinstance(item, int):
            stack.append(Input(item))
        elif isinstance(item, float):
            stack.append(Constant(item))
        else:
            below = [stack.pop() for _ in range(item.arity)]
            stack.append(GPLEARN[item.name](*below))
    return of_peer(stack.pop(), x.shape[1])


# Logarithms and roots are of absolute values there.
GPLEARN: dict[str, Callable[..., Expression]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "sqrt": lambda a: Call("abs", a) ** exact(0.5),
    "log": lambda a: Call("log", Call("abs", a)),
    "sin": lambda a: Call("sin", a),
    "cos": lambda a: Call("cos", a),
    "exp": lambda a: Call("exp", a),
}


def pykan(x: Floats, y: Floats, seconds: float, seed: int) -> Answer:
    import tempfile

    import torch
    from kan import KAN

    torch.set_num_threads(1)
    inputs, target = torch.tensor(x), torch.tensor(y)[:, None]
    data = {
        "train_input": inputs,
        "train_label": target,
        "test_input": inputs,
        "test_label": target,
    }
    quiet = contextlib.redirect_stdout(None), contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as folder, quiet[0], quiet[1]:
        torch.set_default_dtype(torch.float64)
        model = KAN(width=[x.shape[1], 5, 1], grid=5, k=3, seed=seed, ckpt_path=folder)
        model.fit(data, opt="LBFGS", steps=20, lamb=1e-3)
        model = model.prune()
        model.fit(data, opt="LBFGS", steps=20)
        model.auto_symbolic(verbose=0)
        model.fit(data, opt="LBFGS", steps=20)
        names = [f"x{k}" for k in range(x.shape[1])]
        text = str(model.symbolic_formula(var=names)[0][0]).replace("Abs", "abs")
    return of_peer(expression_of(Formula(text, names)), len(names))


METHODS: dict[str, Method] = {
    "kan_exp": own,
    "pyoperon": pyoperon,
    "gplearn": gplearn,
    "pykan": pykan,
}


# --- runs -----------------------------------------------------------------------------------


def run(task: Task) -> Outcome:
    """Fits and judges, in this process."""
    target = task.target
    x, y = sampled(target, task.rows, task.seed, 0)
    generator = np.random.default_rng([task.seed, zlib.crc32(target.name.encode()), 1])
    noisy = y + task.noise * y.std() * generator.normal(size=len(y))
    wall, processor = time.perf_counter(), time.process_time()
    answer = METHODS[task.method](x, noisy, task.seconds, task.seed)
    took = (time.perf_counter() - wall, time.process_time() - processor)
    if answer.formula is None:
        return Outcome("nothing", math.nan, False, *took)
    fresh, truth = sampled(target, FRESH, task.seed, 2)
    left = answer.formula(fresh) - truth
    r2 = 1 - float(left @ left) / float(((truth - truth.mean()) ** 2).sum())
    verdict = "no truth"
    if target.truth is not None:
        verdict = judge(answer.formula, target.truth, fresh, task.noise > 0)
    ignored = not {*answer.formula.inputs} & {*target.idle}
    return Outcome(verdict, r2, answer.claimed, *took, ignored, answer.text)


def _child(task: Task, sender: Connection) -> None:
    from threadpoolctl import threadpool_limits

    threadpool_limits(1)
    if task.processor:
        time.monotonic = time.process_time
    sender.send(run(task))


def apart(task: Task) -> Outcome:
    """Fits and judges in a process of its own, which is ended if it takes far too long."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(task, sender))
    process.start()
    sender.close()
    try:
        limit = (20 if task.processor else 2) * task.seconds + 60
        if not wait([receiver, process.sentinel], limit):
            return Outcome("too slow")
        return receiver.recv()
    except EOFError:
        return Outcome("crashed")
    finally:
        process.kill()
        process.join()


def rates(outcomes: Sequence[tuple[Target, Outcome]]) -> str:
    """One line: parts of the runs in percent, and seconds."""
    count = len(outcomes)
    whole = [outcome for _, outcome in outcomes]
    verdicts = [outcome.verdict for outcome in whole]

    def share(flags: Iterable[bool]) -> str:
        return f"{100 * sum(flags) / count:.1f} %"

    parts = []
    if any(target.truth is not None for target, _ in outcomes):
        harder = [o.verdict for target, o in outcomes if not is_monomial(target)]
        without = f"{100 * harder.count('solved') / max(len(harder), 1):.1f} %"
        parts += [
            f"solved {share(v == 'solved' for v in verdicts)}",
            f"without the {count - len(harder)} pure monomials {without}",
            f"superfluous {share(v == 'superfluous' for v in verdicts)}",
            f"accurate {share(o.r2 > ACCURATE for o in whole)}",
            f"claimed {share(o.claimed for o in whole)}",
        ]
    wrong = sum(o.claimed and o.verdict != "solved" and o.verdict != "superfluous" for o in whole)
    parts.append(f"wrong but claimed {wrong} of {count}")
    if any(target.idle for target, _ in outcomes):
        parts.append(f"idle inputs left out {share(o.ignored for o in whole)}")
    failed = [v for v in verdicts if v not in VERDICTS]
    if failed:
        parts.append("failed: " + ", ".join(f"{failed.count(v)} {v}" for v in sorted({*failed})))
    for name in ("wall", "processor"):
        seconds = [value for o in whole if math.isfinite(value := getattr(o, name))] or [math.nan]
        parts.append(f"{name} s: median {np.median(seconds):.1f}, most {max(seconds):.1f}")
    return "; ".join(parts)


def line(task: Task, outcome: Outcome) -> str:
    said = "claimed" if outcome.claimed else "-"
    idle = "" if outcome.ignored else ", uses idle inputs"
    return (
        f"{task.target.name:14} seed {task.seed} {outcome.verdict:11} {said:7} "
        f"1-R2 {1 - outcome.r2:7.1e}  {outcome.wall:5.1f} s {outcome.processor:5.1f} s cpu  "
        f"{outcome.text}{idle}"
    )


PROBLEMS: dict[str, tuple[int, tuple[float, ...], int]] = {  # rows, noise, seeds by default
    "feynman": (10_000, (0.0, 0.001, 0.01), 1),
    "two-inputs": (200, (0.0, 0.01), 3),
    "none": (1_000, (0.0, 0.01), 1),
    "idle": (1_000, (0.0, 0.01), 1),
}


def targets_of(problems: str, split: str) -> list[Target]:
    match problems:
        case "feynman":
            return feynman(split)
        case "two-inputs":
            return [target_of(name, *given) for name, given in TWO_INPUTS.items()]
        case "idle":
            true = [target_of(name, *given) for name, given in WITH_IDLE.items()]
            return [with_idle(target, count) for target in true for count in (1, 2, 3)]
    return without_formula()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--problems", choices=PROBLEMS, default="feynman")
    parser.add_argument("--split", choices=("develop", "test", "all"), default="develop")
    parser.add_argument("--noise", type=float, nargs="+", help="in deviations of the target")
    parser.add_argument("--rows", type=int, help="of each problem")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each fit")
    parser.add_argument(
        "--processor",
        action="store_true",
        help="count seconds of the processor, on a busy machine (pyoperon counts its own)",
    )
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--seeds", type=int, help="how many")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some problems")
    parser.add_argument("--peers", nargs="*", choices=[*METHODS][1:], default=[])
    parser.add_argument("--jobs", type=int, default=1, help="fits at the same time")
    options = parser.parse_args()

    rows, noise, seeds = PROBLEMS[options.problems]
    start = "\r"  # of the line
    secret = options.problems == "feynman" and options.split != "develop"
    targets = targets_of(options.problems, options.split)
    if options.only:
        targets = [target for target in targets if target.name in options.only]
        if not targets:
            parser.error(f"--only: none of {options.only} is in this set")
    for method, level in itertools.product(["kan_exp", *options.peers], options.noise or noise):
        tasks = [
            Task(
                method,
                target,
                level,
                options.rows or rows,
                options.seconds,
                options.seed + k,
                options.processor,
            )
            for target in targets
            for k in range(options.seeds or seeds)
        ]
        print(f"{method}, noise {level:g}, {len(tasks)} runs", flush=True)
        outcomes = []
        with ThreadPoolExecutor(options.jobs) as pool:
            for task, outcome in zip(tasks, pool.map(apart, tasks), strict=True):
                outcomes.append((task.target, outcome))
                if secret:
                    print(f"{start}{len(outcomes)} of {len(tasks)}", end="", flush=True)
                else:
                    print(line(task, outcome), flush=True)
        print(f"{start if secret else ''}{rates(outcomes)}\n", flush=True)


if __name__ == "__main__":
    main()
