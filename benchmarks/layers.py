# ruff: noqa: T201 - a benchmark's output is its purpose.
"""Time and memory of a pass through a layer, beside nn.Linear, the seed project and other packages.

python benchmarks/layers.py
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile

from kan_exp import layers
from kan_exp.layers import mlp
from kan_exp.layers.kernels import Grid, native_sum, spline_sum, spline_values, torch_sum
from kan_exp.plots.style import LEARNED, TRUE, log_scale, new_figure, tidy

ROUNDS, CURVE_ROUNDS, FEW_ROUNDS = 11, 5, 3  # few where a pass takes longer than DEAR
BLOCK, DEAR = 0.05, 0.4  # seconds; short passes are repeated until a block is full
LOW, HIGH = -2.0, 2.0  # the first and last knot of all layers; samples lie between them
MB = 1e6
BUSY = 0.5  # load average from which on a reader is warned

# A curve of the plot ends with a pass that takes this many seconds, or before a tensor of this many
# numbers (a gigabyte), because the seed project's layers fill any memory.
LONGEST, LARGEST = 1.0, 2**28
KNOTS = (16, 64, 256, 1024, 4096)
WIDTHS = (2, 4, 8, 16, 32, 64, 128)
BATCHES = (4, 16, 64, 256, 1024, 4096, 16384)
GPU_WIDTHS, GPU_BATCHES = (16, 32, 64, 128, 256), (256, 1024, 4096, 16384, 65536)


class Size(NamedTuple):
    """A layer's widths and the number of samples that it is given."""

    dim_in: int
    dim_out: int
    batch: int

    def __str__(self) -> str:
        return f"{self.dim_in}x{self.dim_out}, batch {self.batch}"


BIG, SMALL, WIDE = Size(32, 32, 1024), Size(2, 5, 32), Size(64, 64, 1024)
MANY = BIG._replace(batch=16384)  # enough for what a table's gradient takes by itself to be little
# Sizes of a GPU, which smaller ones do not fill.
LARGE, HUGE = Size(64, 64, 16384), Size(256, 256, 16384)


class Pass(NamedTuple):
    """A forward and backward pass: gradients for input and weights, that of the outputs given.

    `layer` is missing where it is not torch's, whose memory alone can be measured.
    """

    run: Callable[[], Any]
    layer: nn.Module | None = None
    weights: int = 0


# A line of layers.csv: medians, and the ratio's range.
Row = dict[str, Any]
FIELDS = (
    *("part", "edges", "by", "size", "threads", "unit", "value"),
    *("against", "other", "ratio", "low", "high", "verdict"),
)


class AbsentError(Exception):
    """A contestant cannot take part: the text is what its cell says."""


# Measuring


class Bench(NamedTuple):
    """Makes passes on a device, and measures them."""

    device: str
    threads: int
    rounds: int

    def place(self, part: str, kind: Kind, size: Size | int) -> Row:
        """Where a row belongs."""
        what = {"part": part, "edges": kind.edges, "by": kind.by}
        return {**what, "size": str(size), "threads": self.threads}

    def torch_pass(self, layer: nn.Module, size: Size, outside: bool = False) -> Pass:
        x, grad = (tensor.to(self.device) for tensor in samples(size, outside))
        layer.to(self.device)
        weights = [weight for weight in layer.parameters() if weight.requires_grad]
        wanted = [x.requires_grad_(), *weights]

        def run() -> tuple[Tensor, ...]:
            y = layer(x)
            y = y[0] if isinstance(y, tuple) else y  # pykan's comes with the edges
            return torch.autograd.grad(y, wanted, grad)

        return Pass(run, layer, sum(weight.numel() for weight in weights))

    def turns(self, passes: Sequence[Pass]) -> list[list[float]]:
        """Seconds per pass of each, for each of several rounds in which they take turns."""
        counts = []
        for one in passes:
            self.seconds(one, 1)  # may compile
            counts.append(max(1, round(BLOCK / self.seconds(one, 1))))
        found: list[list[float]] = [[] for _ in passes]
        rounds = self.rounds
        while len(found[0]) < rounds:
            for one, count, seconds in zip(passes, counts, found, strict=True):
                seconds.append(self.seconds(one, count))
            if max(seconds[-1] for seconds in found) > DEAR:
                rounds = FEW_ROUNDS
        return found

    def seconds(self, one: Pass, count: int) -> float:
        """Seconds per pass in a row of so many."""
        if count > 1:
            one.run()  # brings its data back into the cache
        self.finish()
        start = time.perf_counter()
        for _ in range(count):
            one.run()
        self.finish()
        return (time.perf_counter() - start) / count

    def finish(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def memory(self, one: Pass) -> int:
        """Most bytes that a pass holds at once beyond parameters, their gradients and its input.

        Should be a layer's first pass, in order that what it keeps for later ones counts.
        """
        if self.device == "cuda":
            one.run()  # torch makes the workspace of matrix products once, and keeps it
            before = torch.cuda.memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            _, *gradients = one.run()
            most = torch.cuda.max_memory_allocated() - before
            kept = {g.untyped_storage().data_ptr(): g.untyped_storage() for g in gradients}
            return most - sum(storage.nbytes() for storage in kept.values())
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
            _, *gradients = one.run()
        with tempfile.TemporaryDirectory() as folder:
            trace = Path(folder, "trace.json")
            recorded.export_chrome_trace(str(trace))
            events = json.loads(trace.read_text())["traceEvents"]
        events = sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: e["ts"])
        # What is at an address in the end came last; something else may have been there before.
        last = {event["args"]["Addr"]: number for number, event in enumerate(events)}
        ignored = {last.get(gradient.untyped_storage().data_ptr()) for gradient in gradients}
        held = most = 0
        for number, event in enumerate(events):
            held += 0 if number in ignored else event["args"]["Bytes"]
            most = max(most, held)
        return most


def samples(size: Size, outside: bool = False) -> tuple[Tensor, Tensor]:
    """Inputs evenly spread between the knots, or normal with 5 % outside; and a loss's gradient."""
    generator = torch.Generator().manual_seed(0)
    x = LOW + (HIGH - LOW) * torch.rand(size.batch, size.dim_in, generator=generator)
    if outside:
        x.normal_(generator=generator)
    return x, torch.randn(size.batch, size.dim_out, generator=generator)


def check_meter(bench: Bench) -> None:
    """Measures what can be told by hand: the outputs and the input's gradient of nn.Linear."""
    found, known = bench.memory(linear(bench, WIDE)), 4 * WIDE.batch * (WIDE.dim_in + WIDE.dim_out)
    if bench.device == "cpu" and found != known:
        raise SystemExit(f"The memory of nn.Linear is {known} bytes, but was measured as {found}.")


# Contestants

Maker = Callable[[Bench, Size], Pass]


class Kind(NamedTuple):
    """A kind of edges as a package has them."""

    edges: str
    by: str
    make: Maker


def linear(bench: Bench, size: Size) -> Pass:
    return bench.torch_pass(nn.Linear(size.dim_in, size.dim_out), size)


def ours(edges: str, kind: Any, outside: bool = False, **options: Any) -> Kind:
    def make(bench: Bench, size: Size) -> Pass:
        layer = kind(size.dim_in, size.dim_out, **options, generator=torch.Generator())
        return bench.torch_pass(layer, size, outside)

    return Kind(edges, "kan_exp", make)


def our_interpo(knots: int) -> Kind:
    return ours(f"interpolation, {knots} knots", layers.KANInterpoLayer, num_x=knots)


def our_spline(intervals: int, **options: Any) -> Kind:
    edges = ", ".join([f"cubic spline, {intervals} intervals", *options.values()])
    return ours(edges, layers.KANSplineLayer, num_intervals=intervals, **options)


OUR_MLP = ours("mlp", layers.KANLayer)


class AllBasis(nn.Module):
    """Cubic splines the usual way: all basis functions by Cox and de Boor, and one product."""

    def __init__(self, size: Size, intervals: int, degree: int = 3) -> None:
        super().__init__()
        self.degree = degree
        spacing = (HIGH - LOW) / intervals
        knots = LOW + spacing * torch.arange(-degree, intervals + degree + 1)
        self.register_buffer("knots", knots)
        numbers = size.dim_in * (intervals + degree)
        self.weight = nn.Parameter(torch.randn(size.dim_out, numbers) / numbers**0.5)

    def forward(self, x: Tensor) -> Tensor:
        x, knots = x.unsqueeze(-1), self.knots
        basis = ((x >= knots[:-1]) & (x < knots[1:])).to(x)
        for p in range(1, self.degree + 1):
            rising = (x - knots[: -p - 1]) / (knots[p:-1] - knots[: -p - 1])
            falling = (knots[p + 1 :] - x) / (knots[p + 1 :] - knots[1:-p])
            basis = rising * basis[..., :-1] + falling * basis[..., 1:]
        return functional.linear(basis.flatten(1), self.weight)


def all_basis(intervals: int) -> Kind:
    def make(bench: Bench, size: Size) -> Pass:
        if size.batch * size.dim_in * (intervals + 3) > LARGEST:
            raise AbsentError("too large")
        return bench.torch_pass(AllBasis(size, intervals), size)

    return Kind(f"cubic spline, {intervals} intervals", "all basis functions", make)


def compiled(kind: Kind) -> Kind:
    """The same layer under torch.compile, for batches of this one size."""

    def make(bench: Bench, size: Size) -> Pass:
        if not has_compiler(bench.device):
            raise AbsentError("no compiler")
        torch.compiler.reset()
        layer: Any = torch.compile(kind.make(bench, size).layer, dynamic=False)
        one = bench.torch_pass(layer, size)
        try:
            one.run()
        except RuntimeError as error:
            raise AbsentError(f"fails: {type(error).__name__}") from error
        return one

    return Kind(kind.edges, "torch.compile", make)


def has_compiler(device: str) -> bool:
    """Whether torch.compile finds a C++ compiler, and on a GPU Triton."""
    names = [os.environ.get("CXX", "g++"), "clang++"]
    return any(map(shutil.which, names)) and (device == "cpu" or version("triton") is not None)


def version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def need(package: str) -> None:
    if version(package) is None:
        raise AbsentError("not installed")


def seed_interpo(knots: int) -> Kind:
    def make(bench: Bench, size: Size) -> Pass:
        need("mlp-kan")
        from mlp_kan import KANInterpoLayer

        if size.batch * size.dim_in * size.dim_out * knots > LARGEST:
            raise AbsentError("too large")
        return bench.torch_pass(KANInterpoLayer(size.dim_in, size.dim_out, num_x=knots), size)

    return Kind(f"interpolation, {knots} knots", "mlp-kan", make)


def make_seed_mlp(bench: Bench, size: Size) -> Pass:
    need("mlp-kan")
    from mlp_kan import KANLayer

    return bench.torch_pass(KANLayer(size.dim_in, size.dim_out), size)


SEED_MLP = Kind("mlp", "mlp-kan", make_seed_mlp)


def pykan(intervals: int) -> Kind:
    def make(bench: Bench, size: Size) -> Pass:
        return bench.torch_pass(pykan_layer(size, intervals), size)

    return Kind(f"cubic spline, {intervals} intervals, silu", "pykan", make)


def pykan_layer(size: Size, intervals: int) -> Any:
    need("pykan")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about how some of its strings are written
        from kan import KANLayer

    return KANLayer(size.dim_in, size.dim_out, num=intervals, k=3, grid_range=[LOW, HIGH])


def jaxkan(intervals: int) -> Kind:
    def make(bench: Bench, size: Size) -> Pass:
        layer = jaxkan_layer(size, intervals)
        import jax
        from flax import nnx

        if jax.default_backend() != {"cuda": "gpu"}.get(bench.device, bench.device):
            raise AbsentError("jax without a GPU")
        x, grad = (jax.numpy.asarray(tensor.numpy()) for tensor in samples(size))
        graph, weights, rest = nnx.split(layer, nnx.Param, ...)

        def loss(weights: Any, x: Any, grad: Any) -> Any:  # whose gradient is the one given
            return (nnx.merge(graph, weights, rest)(x) * grad).sum()

        step = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        count = sum(weight.size for weight in jax.tree.leaves(weights))
        return Pass(lambda: jax.block_until_ready(step(weights, x, grad)), weights=count)

    return Kind(f"cubic spline, {intervals} intervals, silu", "jaxkan", make)


def jaxkan_layer(size: Size, intervals: int) -> Any:
    need("jaxkan")
    from jaxkan.layers import SplineLayer

    # Without the further weights and the biases, which our edges do not have, it is faster.
    options: dict[str, Any] = {"external_weights": False, "add_bias": False}
    return SplineLayer(
        size.dim_in, size.dim_out, k=3, G=intervals, grid_range=(LOW, HIGH), **options
    )


def check_peers() -> None:
    """Stops unless layers that stand beside each other compute the same."""
    size = Size(3, 4, 64)
    pairs: list[tuple[nn.Module, Callable[[Tensor], Tensor]]] = []
    if version("mlp-kan"):
        import mlp_kan

        tables = mlp_kan.KANInterpoLayer(3, 4, num_x=16)
        our_tables = layers.KANInterpoLayer(3, 4, num_x=16)
        our_tables.values.data = tables.Y.detach().transpose(1, 2).contiguous()
        pairs.append((our_tables, tables))
        networks, our_networks = mlp_kan.KANLayer(3, 4), layers.KANLayer(3, 4)
        weights = networks.W1, networks.B1, networks.W2, networks.B2
        for ours, theirs in zip(our_networks.parameters(), weights, strict=True):
            ours.data = theirs.detach().view_as(ours)
        pairs.append((our_networks, networks))
    if version("pykan"):
        splines = pykan_layer(size, 5)
        values = splines.coef * splines.scale_sp.unsqueeze(-1)  # (in, out, 8)
        layer = spline_of(values.transpose(1, 2), splines.scale_base)
        pairs.append((layer, lambda x: splines(x)[0]))
    if version("jaxkan"):
        other = jaxkan_layer(size, 5)
        values, base = (torch.tensor(w[...].tolist()) for w in (other.c_basis, other.c_res))
        layer = spline_of(values.permute(1, 2, 0), base.T)  # from (out, in, 8) and (out, in)
        pairs.append((layer, lambda x: torch.tensor(other(x.numpy()).tolist())))
    usual, layer = AllBasis(size, 5), layers.KANSplineLayer(3, 4, num_intervals=5)
    layer.values.data = usual.weight.detach().view(4, 3, 8).permute(1, 2, 0).contiguous()
    pairs.append((layer, usual))
    x, _ = samples(size)
    for mine, their in pairs:
        torch.testing.assert_close(mine(x), their(x), rtol=1e-4, atol=1e-4)


def spline_of(values: Tensor, base: Tensor) -> layers.KANSplineLayer:
    """Our spline with these coefficients `(in, 8, out)` and weights of silu `(in, out)`."""
    layer = layers.KANSplineLayer(values.shape[0], values.shape[2], num_intervals=5, base="silu")
    layer.load_state_dict({"values": values, "base_weight": base}, strict=False)
    return layer


PEERS = ("mlp-kan", "pykan", "jaxkan")
LINEAR, OUR_MLP = Kind("none", "nn.Linear", linear), ours("mlp", layers.KANLayer)
OUTSIDE = "cubic spline, 5 % of the samples outside"
# Edges of 8 numbers where a kind leaves the choice, tables of 64, the default of both packages.
CONTESTANTS = (
    our_interpo(64),
    our_spline(5),
    our_spline(5, base="silu"),
    ours(OUTSIDE, layers.KANSplineLayer, outside=True, num_intervals=5),
    OUR_MLP,
    ours("mlp, table of 128 points", layers.KANLayer, table_points=128),
    ours("chebyshev, degree 7", layers.KANChebyshevLayer, degree=7),
    ours("fourier, 3 frequencies", layers.KANFourierLayer, num_frequencies=3),
    ours("rbf, 7 centres, silu", layers.KANRBFLayer, num_centers=7),
    ours("rational, degree 4", layers.KANRationalLayer, degree=4),
    ours("linear, silu", layers.KANLinearLayer),
    compiled(our_interpo(64)),
    compiled(our_spline(5)),
    compiled(OUR_MLP),
    seed_interpo(64),
    SEED_MLP,
    pykan(5),
    jaxkan(5),
)


# Tables


class Target(NamedTuple):
    """What must hold of the time or memory of a kind, and what is aimed at.

    The limits are for how many times slower or larger it is than `theirs`, or how many times
    faster; or, if there is nothing to compare with, for megabytes or milliseconds.
    """

    what: str
    size: Size
    ours: Kind
    theirs: Kind | None
    must: float
    aim: float
    faster: bool = False

    def judge(self, ratio: float) -> tuple[str, str]:
        def say(limit: float) -> str:
            met = ratio >= limit if self.faster else ratio <= limit
            return (
                f"{'at least' if self.faster else 'at most'} {limit:g}: {'' if met else 'not '}met"
            )

        return say(self.must), say(self.aim)


TARGETS = (
    # Memory comes first, while nothing is cached yet.
    Target("memory", BIG, our_interpo(4096), our_interpo(16), 1.3, 1.1),
    Target("memory", WIDE, our_interpo(256), None, 64, 16),
    Target("time", BIG, our_interpo(256), seed_interpo(256), 400, 1000, faster=True),
    Target("time", BIG, our_interpo(4096), our_interpo(16), 1.3, 1.1),
    Target("time", MANY, our_interpo(4096), our_interpo(16), 1.3, 1.1),
    Target("time", BIG, OUR_MLP, SEED_MLP, 10, 40, faster=True),
    Target("time", BIG, our_spline(5), LINEAR, 8, 4),
    Target("time", BIG, our_spline(100), our_spline(5), 2, 1.2),
    Target("time", SMALL, our_interpo(64), LINEAR, 4, 2),
    Target("time", SMALL, our_spline(8), LINEAR, 4, 2),
)
GPU_TARGETS = (
    Target("memory", LARGE, our_spline(8), LINEAR, 2, 1.2),
    Target("time", LARGE, our_spline(8), LINEAR, 2, 1.2),
    *(Target("time", LARGE, our_interpo(knots), LINEAR, 4, 2) for knots in (65, 257, 1025)),
    *(
        Target("time", LARGE, our_interpo(knots), our_interpo(65), 1.5, 1.2)
        for knots in (257, 1025)
    ),
    Target("time", HUGE, our_spline(8), LINEAR, 10, 6),
    Target("time", LARGE, our_spline(8), all_basis(8), 1, 5, faster=True),
    Target("time", BIG, OUR_MLP, None, 10, 4),
)


def compare_with_targets(bench: Bench) -> list[Row]:
    """Prints for each target what was measured, and whether it is met."""
    print("| what | edges | size | against | ours | theirs | ratio | must | aim |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    rows = []
    for target in TARGETS if bench.device == "cpu" else GPU_TARGETS:
        kind, other = target.ours, target.theirs
        against = "" if other is None else other.by if other.by != "kan_exp" else other.edges
        head = f"| {target.what} | {kind.edges} | {target.size} | {against} |"
        try:
            kinds = [each for each in (kind, other) if each is not None]
            passes = [each.make(bench, target.size) for each in kinds]
        except AbsentError as reason:
            print(f"{head} | {reason} | | | |", flush=True)
            continue
        if target.what == "memory":
            unit, found = "MB", [[bench.memory(one) / MB] for one in passes]
        else:
            unit, found = "ms", [[1e3 * s for s in seconds] for seconds in bench.turns(passes)]
        medians = [median(values) for values in found]
        row = {**bench.place("target", kind, target.size), "unit": unit, "value": medians[0]}
        cells, judged = [f"{number(value)} {unit}" for value in medians], medians[0]
        if other is None:
            cells += ["", ""]
        else:
            ratios = quotients(*found[::-1] if target.faster else found)
            judged = median(ratios)
            cells.append(shown(ratios))
            row |= {"against": against, "other": medians[1], **spread(ratios)}
        verdicts = target.judge(judged)
        print(f"{head} {' | '.join([*cells, *verdicts])} |", flush=True)
        rows.append({**row, "verdict": "; ".join(verdicts)})
    return rows


def compare_kinds(bench: Bench, contestants: Sequence[Kind]) -> list[Row]:
    """Prints every contestant's time and memory, at two sizes, beside nn.Linear."""
    rows, sizes = [], (BIG, SMALL if bench.device == "cpu" else LARGE)
    heads = [f"{size}: ms | times nn.Linear | MB |" for size in sizes]
    print(f"\n| edges | by | numbers per edge | {' '.join(heads)}")
    print("| --- | --- | --- |" + " --- | --- | --- |" * len(sizes))
    for kind in contestants:
        numbers, cells = "", []
        for size in sizes:
            try:
                one = kind.make(bench, size)
            except AbsentError as reason:
                cells += [str(reason), "", ""]
                continue
            place, memory = bench.place("kinds", kind, size), ""
            if one.layer is not None:
                megabytes = bench.memory(one) / MB
                memory = number(megabytes)
                rows.append({**place, "unit": "MB", "value": megabytes})
            ours, plain = bench.turns([one, linear(bench, size)])
            ratios = quotients(ours, plain)
            mine, other = 1e3 * median(ours), 1e3 * median(plain)
            times = {"unit": "ms", "value": mine, "against": LINEAR.by, "other": other}
            rows.append({**place, **times, **spread(ratios)})
            numbers = numbers or number(one.weights / (size.dim_in * size.dim_out))
            cells += [number(mine), shown(ratios), memory]
        print(f"| {kind.edges} | {kind.by} | {numbers} | {' | '.join(cells)} |", flush=True)
    return rows


def quotients(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [one / other for one, other in zip(above, below, strict=True)]


def spread(ratios: Sequence[float]) -> Row:
    return {"ratio": median(ratios), "low": min(ratios), "high": max(ratios)}


def number(value: float) -> str:
    """Three digits, and never an exponent."""
    return f"{value:.3g}" if 1e-3 <= value < 999.5 else f"{value:,.0f}"


def shown(values: Sequence[float]) -> str:
    """Median and range."""
    return f"{number(median(values))} ({number(min(values))} to {number(max(values))})"


def bandwidth(bench: Bench) -> None:
    """Prints how fast passes move what they must, on a GPU, beside a copy within its memory."""
    source = torch.empty(2**28, device=bench.device)
    target = torch.empty_like(source)
    copy = Pass(lambda: target.copy_(source))
    best = 2 * source.nbytes / median(bench.turns([copy])[0])
    print(f"\nA copy moves {best / 1e9:.0f} GB/s (read and written).\n")
    print("| edges | size | ms | GB that must move | GB/s | of the copy's |")
    print("| --- | --- | --- | --- | --- | --- |")
    for size in (BIG, LARGE, HUGE, HUGE._replace(batch=65536)):
        for kind in (our_spline(8), our_interpo(65), our_interpo(257), our_interpo(1025)):
            one = kind.make(bench, size)
            # Forward reads x and weights, and writes y; backward reads x, weights and the gradient
            # of y, and writes the gradients of x and weights.
            inputs, outputs = size.batch * size.dim_in, size.batch * size.dim_out
            must_move = 4 * (3 * inputs + 3 * one.weights + 2 * outputs)
            seconds = median(bench.turns([one])[0])
            speed = must_move / seconds
            cells = f"{number(1e3 * seconds)} | {number(must_move / 1e9)} | {speed / 1e9:.1f}"
            print(f"| {kind.edges} | {size} | {cells} | {speed / best:.1%} |", flush=True)


# The plot


class Curve(NamedTuple):
    """A kind at several sizes; `knots` is how many its edges have where that is not varied."""

    edges: str
    by: str
    kind: Callable[[int], Kind]
    knots: int = 0

    @property
    def name(self) -> str:
        return self.by if self.edges == "none" else f"{self.edges}, {self.by}"


CURVES = (
    Curve("interpolation", "kan_exp", our_interpo, 64),
    Curve("interpolation", "mlp-kan", seed_interpo, 64),
    Curve("cubic spline", "kan_exp", our_spline, 5),
    Curve("cubic spline", "pykan", pykan, 5),
    Curve("cubic spline", "jaxkan", jaxkan, 5),
    Curve("mlp", "kan_exp", lambda knots: OUR_MLP),
    Curve("mlp", "mlp-kan", lambda knots: SEED_MLP),
    Curve("none", "nn.Linear", lambda knots: LINEAR),
)
GPU_CURVES = (*CURVES, Curve("cubic spline", "all basis functions", all_basis, 5))
PANELS = "knots", "width", "batch"
COLOURS = {"interpolation": LEARNED, "cubic spline": TRUE, "mlp": "#2f8f5b", "none": "#77808a"}
DASHES = {"mlp-kan": "--", "pykan": "--", "jaxkan": ":", "all basis functions": "-."}


def panels_of(device: str) -> dict[str, tuple[Sequence[int], str]]:
    """Of each panel the values on its axis, and its label."""
    size, widths, batches = (
        (BIG, WIDTHS, BATCHES) if device == "cpu" else (LARGE, GPU_WIDTHS, GPU_BATCHES)
    )
    labels = (
        f"knots per edge ({size})",
        f"inputs and outputs (batch {size.batch})",
        f"samples ({size.dim_in}x{size.dim_out})",
    )
    return dict(zip(PANELS, zip((KNOTS, widths, batches), labels, strict=True), strict=True))


def follow_curves(bench: Bench) -> list[Row]:
    """Times of all curves, each until a pass becomes too long, or too large."""
    bench = bench._replace(rounds=CURVE_ROUNDS)
    middle, curves = (BIG, CURVES) if bench.device == "cpu" else (LARGE, GPU_CURVES)
    rows = []
    for panel, (values, _) in panels_of(bench.device).items():
        for curve in curves:
            if panel == "knots" and curve.edges == "mlp":  # it has none
                continue
            for value in values:
                size = {
                    "knots": middle,
                    "width": Size(value, value, middle.batch),
                    "batch": middle._replace(batch=value),
                }[panel]
                kind = curve.kind(value if panel == "knots" else curve.knots)
                try:
                    one = kind.make(bench, size)
                except AbsentError:
                    break
                seconds = median(bench.turns([one])[0])
                place = bench.place(panel, kind._replace(edges=curve.edges), value)
                rows.append({**place, "unit": "ms", "value": 1e3 * seconds})
                if seconds > LONGEST:
                    break
    return rows


def plot(rows: Sequence[Row], file: Path, device: str) -> None:
    """Draws the curves: a colour for each kind of edges, dashes for other packages."""
    figure = new_figure(11, 4.6)
    lines = {}
    plots = figure.subplots(1, len(PANELS), sharey=True)
    for axes, (panel, (_, label)) in zip(plots, panels_of(device).items(), strict=True):
        tidy(axes, grid=True)
        for curve in GPU_CURVES:
            kind = panel, curve.edges, curve.by
            found = [row for row in rows if (row["part"], row["edges"], row["by"]) == kind]
            if not found:
                continue
            (lines[curve.name],) = axes.plot(
                [int(row["size"]) for row in found],
                [row["value"] for row in found],
                color=COLOURS[curve.edges],
                linestyle=DASHES.get(curve.by, "-"),
                marker="o",
                markersize=3,
            )
        axes.set_xlabel(label, fontsize=9)
        points = np.concatenate([line.get_xydata() for line in axes.lines])
        log_scale(axes, "x", points[:, 0])
        log_scale(axes, "y", points[:, 1])
    plots[0].set_ylabel("ms for a forward and backward pass", fontsize=9)
    threads = rows[0]["threads"]
    where = f"{threads} thread{'s' * (threads > 1)}" if device == "cpu" else "on a GPU"
    title = f"Time of a pass, {where}; curves end above {LONGEST:g} s"
    figure.suptitle(title, fontsize=10)
    figure.legend(
        lines.values(), lines, loc="outside lower center", ncols=4, frameon=False, fontsize=9
    )
    figure.savefig(file)


# Ways to sum a table's rows


def gathered(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Looks the rows up, multiplies, sums."""
    return spline_values(x, table, grid).sum(1)


def in_bags(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Looks the rows up and sums them without writing them down, by autograd's own derivative."""
    cell, weights = plain_weights(x, table, grid)
    first = cell + table.shape[1] * torch.arange(len(table))
    rows = first.unsqueeze(-1) + torch.arange(grid.functions)
    return functional.embedding_bag(
        rows.flatten(1), table.flatten(0, 1), mode="sum", per_sample_weights=weights.flatten(1)
    )


def with_all(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    """Writes all basis functions out, most of them 0, and multiplies them with the table."""
    cell, weights = plain_weights(x, table, grid)
    places = cell.unsqueeze(-1) + torch.arange(grid.functions)
    basis = x.new_zeros(*x.shape, table.shape[1]).scatter(-1, places, weights)
    return basis.flatten(1) @ table.flatten(0, 1)


def plain_weights(x: Tensor, table: Tensor, grid: Grid) -> tuple[Tensor, Tensor]:
    """Cells, and the basis functions there, on the grid."""
    cell, t = grid.locate(x, table)
    weights = grid.polynomials[-1, : grid.functions]
    for coefficients in grid.polynomials[:-1, : grid.functions].flip(0):
        weights = torch.addcmul(coefficients, weights, t.unsqueeze(-1))
    return cell, weights / grid.scale


# How `spline_sum` chooses: whether C code takes a sum, and by which constants torch's ways do.
AS_CHOSEN = {
    native_sum: {"takes": native_sum.takes},
    torch_sum: {n: getattr(torch_sum, n) for n in ("DENSE_ROWS", "DENSE_PRODUCTS", "SMALL")},
}
NO_C = {"takes": lambda x: False}
DENSE = {native_sum: NO_C, torch_sum: {"DENSE_ROWS": 2**30, "DENSE_PRODUCTS": 2**60, "SMALL": 0}}
LOOKED_UP = {native_sum: NO_C, torch_sum: {"DENSE_ROWS": 0, "DENSE_PRODUCTS": 0, "SMALL": 0}}
Choice = dict[ModuleType, dict[str, Any]]
WAYS: dict[str, tuple[Callable[..., Tensor], Choice]] = {
    "gather": (gathered, AS_CHOSEN),
    "embedding_bag": (in_bags, AS_CHOSEN),
    "dense basis": (with_all, AS_CHOSEN),
    "torch, dense": (spline_sum, DENSE),
    "torch, looked up": (spline_sum, LOOKED_UP),
    "torch, as chosen": (spline_sum, {**AS_CHOSEN, native_sum: NO_C}),
    "C": (spline_sum, AS_CHOSEN),
}
ROWS = (16, 32, 64, 256, 1024, 4096)
SMALLER = (
    (SMALL, 64),
    (SMALL, 1024),
    (Size(2, 5, 1024), 64),
    (Size(2, 5, 1024), 1024),
    (Size(8, 8, 32), 256),
    (Size(8, 8, 256), 256),
    (Size(8, 8, 1024), 256),
    (Size(32, 32, 32), 256),
    (Size(32, 32, 128), 256),
)
BLOCKS = range(14, 21)
BLOCKED = (BIG, Size(8, 8, 8192), Size(128, 128, 128))
ONE_PASS = (SMALL, Size(2, 5, 1024), Size(8, 8, 128), Size(8, 8, 512), Size(8, 8, 1024), BIG)


def compare_ways(bench: Bench) -> None:
    """Prints what the constants in `torch_sum.py` and `mlp.py` rest on, in milliseconds."""
    print(f"| rows per input | of which read | size | {' | '.join(WAYS)} |")
    print("| --- | --- | --- |" + " --- |" * len(WAYS))
    for size, rows in [*((BIG, rows) for rows in ROWS), *SMALLER]:
        for degree in (1, 3):
            passes = [way_pass(size, rows, degree, *way) for way in WAYS.values()]
            times = [number(1e3 * median(seconds)) for seconds in bench.turns(passes)]
            print(f"| {rows} | {degree + 1} | {size} | {' | '.join(times)} |", flush=True)

    print(f"\n| mlp: numbers of a block | {' | '.join(map(str, BLOCKED))} |")
    print("| --- |" + " --- |" * len(BLOCKED))
    columns = []
    for size in BLOCKED:
        passes = [mlp_pass(bench, size, {"BLOCK": 2**power, "SMALL": 0}) for power in BLOCKS]
        columns.append([number(1e3 * median(seconds)) for seconds in bench.turns(passes)])
    for power, *cells in zip(BLOCKS, *columns, strict=True):
        print(f"| 2^{power} | {' | '.join(cells)} |")

    print("\n| mlp: hidden activations | size | in blocks | in one pass |")
    print("| --- | --- | --- | --- |")
    for size in ONE_PASS:
        passes = [mlp_pass(bench, size, {"SMALL": small}) for small in (0, 2**60)]
        times = [number(1e3 * median(seconds)) for seconds in bench.turns(passes)]
        layer = passes[0].layer
        assert isinstance(layer, layers.KANLayer)
        hidden = size.batch * layer.numbers_per_sample
        print(f"| {hidden:,} | {size} | {' | '.join(times)} |", flush=True)


def way_pass(
    size: Size, rows: int, degree: int, way: Callable[..., Tensor], choice: Choice
) -> Pass:
    layer = layers.KANSplineLayer(size.dim_in, size.dim_out, rows - degree, degree)
    x, grad = samples(size)
    wanted = x.requires_grad_(), layer.values

    def run() -> tuple[Tensor, ...]:
        for module, names in choice.items():
            vars(module).update(names)
        return torch.autograd.grad(way(*layer._read(x)), wanted, grad)

    return Pass(run, layer)


def mlp_pass(bench: Bench, size: Size, constants: dict[str, int]) -> Pass:
    one = OUR_MLP.make(bench, size)
    usual = {name: getattr(mlp, name) for name in ("BLOCK", "SMALL")}

    def run() -> Any:
        vars(mlp).update({**usual, **constants})
        return one.run()

    return Pass(run, one.layer)


# The command


def measure(device: str, threads: int, quick: bool, ways: bool, follow: bool) -> list[Row]:
    """Everything on one number of threads."""
    torch.set_num_threads(threads)
    # Until a block of up to 32 MB has been freed, the C library gives large blocks back to the
    # kernel after each use, which takes time. Freeing one here puts all contestants on a par.
    torch.empty(30_000_000, dtype=torch.uint8)
    bench = Bench(device, threads, FEW_ROUNDS if quick else ROUNDS)
    found = ", ".join(f"{name} {version(name) or 'not installed'}" for name in ("torch", *PEERS))
    name = torch.cuda.get_device_name() if device == "cuda" else "CPU"
    print(f"\n{name}, {threads} thread{'s' * (threads > 1)}; {found}\n", flush=True)
    if ways:
        compare_ways(bench)
        return []
    check_meter(bench)
    check_peers()
    contestants = [kind for kind in CONTESTANTS if not (quick and kind.by == "torch.compile")]
    rows = compare_with_targets(bench) + compare_kinds(bench, contestants)
    if device == "cuda":
        bandwidth(bench)
    if follow:
        rows += follow_curves(bench)
    if not all(map(version, PEERS)):
        print("\nFor what is not installed: pip install -e '.[bench]'")
    if not has_compiler(device):
        print("\ntorch.compile finds no compiler here.")
    return rows


def main() -> None:
    """Prints tables; leaves them as layers.csv, with a plot, in a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--threads", type=int, nargs="+", help="1 and 2 if not given; 1 with --ways and on a GPU"
    )
    parser.add_argument("--quick", action="store_true", help="3 rounds, no torch.compile, no plot")
    parser.add_argument("--ways", action="store_true", help="only: ways to sum a table's rows")
    parser.add_argument("--output", type=Path, default=Path("outputs"), metavar="FOLDER")
    options = parser.parse_args()
    one = options.ways or options.device == "cuda"
    threads = options.threads or ([1] if one else [1, 2])
    if (load := os.getloadavg()[0]) > BUSY:
        print(f"Other programs are at work (a load of {load:.1f}), which threads wait for.")
    rows: list[Row] = []
    os.environ["KINETO_LOG_LEVEL"] = "99"  # or torch's profiler says that it starts, and ends
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # or JAX takes most of a GPU's memory
    for count in threads:
        # JAX takes its threads from NPROC when it starts; each number has a process of its own.
        os.environ.update(OMP_NUM_THREADS=str(count), NPROC=str(count))
        follow = count == min(threads) and not options.quick
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            given = options.device, count, options.quick, options.ways, follow
            rows += pool.submit(measure, *given).result()
    if options.ways:
        return
    options.output.mkdir(parents=True, exist_ok=True)
    with (options.output / "layers.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        writer.writeheader()
        writer.writerows(rows)
    if points := [row for row in rows if row["part"] in PANELS]:
        plot(points, options.output / "layers.png", options.device)


if __name__ == "__main__":
    main()
