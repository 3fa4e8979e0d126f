"""The fast sums of splines, each way of summing, against the readable definition."""

from __future__ import annotations

import math
from typing import NamedTuple

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, jacrev, vmap
from torch.utils._python_dispatch import TorchDispatchMode

from kan_exp.layers import GridLayer, KANInterpoLayer, KANSplineLayer
from kan_exp.layers.kernels import (
    Grid,
    native_sum,
    spline_sum,
    spline_values,
    torch_sum,
)

TOLERANCE = {
    torch.float32: {"rtol": 1e-4, "atol": 2e-4},
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
}


class Size(NamedTuple):
    batch: int
    dim_in: int
    dim_out: int
    intervals: int
    degree: int = 1


# The operation of torch that gives each way away, and sizes at which it is taken where there is no
# compiled code.
LOOK_UP, PRODUCT, PLAIN = "_embedding_bag_forward_only", "scatter_", "embedding"
SIZES = {
    "few rows": (PRODUCT, Size(50, 3, 5, 6, 3)),
    "few rows, many samples": (PRODUCT, Size(3000, 3, 7, 12)),
    "one cell": (PRODUCT, Size(40, 2, 3, 1, 5)),
    "one sample": (PRODUCT, Size(1, 4, 3, 90)),
    "small product": (PRODUCT, Size(20, 3, 5, 400)),
    "look-up": (LOOK_UP, Size(300, 6, 40, 500)),
    "look-up, cubic": (LOOK_UP, Size(400, 4, 30, 200, 3)),
    "look-up, quintic": (LOOK_UP, Size(700, 3, 17, 120, 5)),
    "look-up, one output": (LOOK_UP, Size(9000, 5, 1, 300)),
    "plain": (PLAIN, Size(60, 3, 5, 3000, 2)),
}
EACH = pytest.mark.parametrize("name", SIZES)
EACH_DTYPE = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)


@pytest.fixture(autouse=True, params=["native", "torch"])
def way(request, monkeypatch) -> str:
    """Every fact here holds for the C code and for torch's operations alike."""
    if request.param == "torch":
        monkeypatch.setattr(native_sum, "takes", lambda x: False)
    elif native_sum._library(torch.float64) is None:
        pytest.skip("no C compiler here")
    return request.param


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def layer_of(size: Size) -> GridLayer:
    """Makes the grid, whose inputs have ranges of their own."""
    layer = KANSplineLayer(*size[1:], generator=seeded(0)).double()
    first = torch.linspace(-2, 3, size.dim_in, dtype=torch.float64)
    width = torch.linspace(4, 0.5, size.dim_in, dtype=torch.float64)
    layer.first_knot.copy_(first)
    layer.spacing.copy_(width / size.intervals)
    return layer


def problem(size: Size, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Grid]:
    """Irregular samples, a fifth of them outside, some on knots; a table of noise; its grid."""
    layer = layer_of(size).to(dtype)
    draw = seeded(7)
    grid = Grid(layer.first_knot, layer.spacing, layer._polynomials)
    unit = torch.rand(size.batch, size.dim_in, generator=draw, dtype=torch.float64)
    unit[::5] = 3 * unit[::5] - 1
    unit[1::7] = (unit[1::7] * size.intervals).round() / size.intervals
    first, last = layer.grid.double().unbind(1)
    table = torch.empty_like(layer.values).normal_(generator=draw)
    return (first + unit * (last - first)).to(dtype), table.detach(), grid


def definition(x: Tensor, table: Tensor, grid: Grid) -> Tensor:
    return spline_values(x, table, grid).sum(1)


class Names(TorchDispatchMode):
    """Notes which operations run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@EACH
def test_each_size_takes_its_way(name, way):
    """Or else the other tests here would not test what they say."""
    operation, size = SIZES[name]
    with Names() as names:
        spline_sum(*problem(size))
    seen = [one for one in (LOOK_UP, PRODUCT, PLAIN) if one in names.seen]
    assert seen == ([] if way == "native" else [operation])


# Values and gradients


@EACH_DTYPE
@EACH
def test_values_are_those_of_the_definition(name, dtype):
    x, table, grid = problem(SIZES[name][1], dtype)
    found = spline_sum(x, table, grid)
    assert found.dtype == dtype
    torch.testing.assert_close(found, definition(x, table, grid), **TOLERANCE[dtype])


@EACH_DTYPE
@pytest.mark.parametrize("wanted", ["x", "table", "both"])
@EACH
def test_gradients_are_those_of_the_definition(name, wanted, dtype):
    x, table, grid = problem(SIZES[name][1], dtype)
    parts = {"x": [x], "table": [table], "both": [x, table]}[wanted]
    for part in parts:
        part.requires_grad_()
    found, expected = spline_sum(x, table, grid), definition(x, table, grid)
    assert found.requires_grad
    weight = torch.empty_like(found).normal_(generator=seeded(9))
    pairs = zip(
        torch.autograd.grad(found, parts, weight),
        torch.autograd.grad(expected, parts, weight),
        strict=True,
    )
    for ours, theirs in pairs:
        assert ours.dtype == dtype
        scale = theirs.abs().max().clamp(min=1)  # slopes grow with the number of knots
        torch.testing.assert_close(ours / scale, theirs / scale, **TOLERANCE[dtype])
        assert (ours != 0).any()


@EACH
def test_without_a_gradient_to_take_there_is_none(name):
    x, table, grid = problem(SIZES[name][1])
    assert not spline_sum(x, table, grid).requires_grad
    with torch.no_grad():
        assert not spline_sum(x, table.requires_grad_(), grid).requires_grad


@EACH
def test_gradients_can_be_taken_twice(name):
    x, table, grid = problem(SIZES[name][1])
    parts = x.requires_grad_(), table.requires_grad_()
    loss = spline_sum(x, table, grid).square().sum()
    first = torch.autograd.grad(loss, parts, retain_graph=True)
    for ours, again in zip(first, torch.autograd.grad(loss, parts), strict=True):
        torch.testing.assert_close(ours, again, rtol=1e-12, atol=1e-12)


@EACH
def test_samples_in_any_memory_layout(name):
    x, table, grid = problem(SIZES[name][1])
    expected = spline_sum(x, table, grid)
    for other in (x.T.contiguous().T, torch.stack([x, -x], -1)[..., 0]):
        torch.testing.assert_close(spline_sum(other, table, grid), expected)
    turned = table.transpose(0, 2).contiguous().transpose(0, 2)
    torch.testing.assert_close(spline_sum(x, turned, grid), expected)


@EACH
def test_an_expanded_gradient_is_taken_as_it_is(name):
    """As `sum` gives it: one number, seen as many."""
    x, table, grid = problem(SIZES[name][1])
    table.requires_grad_()
    (found,) = torch.autograd.grad(spline_sum(x, table, grid).sum(), table)
    (expected,) = torch.autograd.grad(definition(x, table, grid).sum(), table)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@EACH_DTYPE
@pytest.mark.parametrize("wanted", ["x", "table", "both"])
@pytest.mark.parametrize("size", [Size(600, 3, 1, 20), Size(300, 5, 1, 7, 3), Size(70, 2, 5, 20)])
def test_replicas_are_summed_as_if_alone(size, wanted, dtype):
    x, table, grid = problem(size, dtype)
    x[3, 0] = torch.nan
    shift = torch.arange(3).to(dtype).view(3, 1)  # replicas differ in everything
    grid = grid._replace(first=grid.first + shift, spacing=grid.spacing * (1 + shift))
    x, table = torch.stack([x, x + 1, x.flip(0)]), torch.stack([table, -table, table.flip(1)])
    parts = {"x": [x], "table": [table], "both": [x, table]}[wanted]
    for part in parts:
        part.requires_grad_()
    found = spline_sum(x, table, grid)
    own = [grid._replace(first=f, spacing=s) for f, s in zip(grid.first, grid.spacing, strict=True)]
    expected = torch.stack([definition(*each) for each in zip(x, table, own, strict=True)])
    same = {**TOLERANCE[dtype], "equal_nan": True}
    torch.testing.assert_close(found, expected, **same)
    weight = torch.empty_like(found).normal_(generator=seeded(9))
    gradients = (torch.autograd.grad(sums, parts, weight) for sums in (found, expected))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, **same)


# Derivatives of derivatives


@pytest.mark.parametrize("wanted", ["x", "table", "both"])
@EACH
def test_second_derivatives_are_those_of_the_definition(name, wanted):
    size = SIZES[name][1]
    if size.dim_out * size.intervals > 4000:
        size = size._replace(batch=size.batch // 2)
    found = []
    for function in (spline_sum, definition):
        x, table, grid = problem(size)
        parts = {"x": [x], "table": [table], "both": [x, table]}[wanted]
        weight = torch.empty(size.batch, size.dim_out, dtype=torch.float64)
        weight = weight.normal_(generator=seeded(9)).requires_grad_()
        for part in parts:
            part.requires_grad_()
        value = function(x, table, grid)
        slopes = torch.autograd.grad(value, parts, weight, create_graph=True)
        total = sum(slope.sin().sum() for slope in slopes)
        ends = [*parts, weight]
        found.append(torch.autograd.grad(total, ends, allow_unused=True))
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            scale = theirs.abs().max().clamp(min=1)
            torch.testing.assert_close(ours / scale, theirs / scale, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("looked_up", [False, True])
@pytest.mark.parametrize("degree", [1, 2, 3])
def test_first_and_second_derivatives_are_numerical_ones(looked_up, degree, way, monkeypatch):
    monkeypatch.setattr(torch_sum, "SMALL", 0)
    if looked_up:
        monkeypatch.setattr(torch_sum, "DENSE_ROWS", 0)
        monkeypatch.setattr(torch_sum, "DENSE_PRODUCTS", 0)
    size = Size(6, 2, 3, 4, degree)
    _, table, grid = problem(size)
    # Away from the knots, where a table has no slope and a parabola no bend.
    cells = torch.tensor([[0.3, -0.4], [1.6, 3.7], [2.2, 4.9], [3.4, 0.5], [1.2, 1.7], [-2.3, 2.6]])
    x = grid.first + cells.double() * grid.spacing
    with Names() as names:
        spline_sum(x, table, grid)
    assert (LOOK_UP in names.seen) == (looked_up and way == "torch")
    inputs = x.requires_grad_(), table.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, table: spline_sum(x, table, grid), inputs)
    assert torch.autograd.gradgradcheck(lambda x, table: spline_sum(x, table, grid), inputs)


# Numbers that users meet sooner or later


@EACH_DTYPE
@EACH
def test_nan_stays_in_its_row(name, dtype):
    size = SIZES[name][1]._replace(batch=max(4, SIZES[name][1].batch))
    x, table, grid = problem(size, dtype)
    whole = spline_sum(x, table, grid)
    broken = x.clone()
    broken[2, -1] = math.nan
    broken.requires_grad_()
    found = spline_sum(broken, table, grid)
    others = [row for row in range(size.batch) if row != 2]
    assert found[2].isnan().all()
    torch.testing.assert_close(found[others], whole[others], **TOLERANCE[dtype])
    (slope,) = torch.autograd.grad(found.sum(), broken)
    assert slope[others].isfinite().all()


@EACH_DTYPE
@EACH
def test_far_outside_values_are_finite(name, dtype):
    x, table, grid = problem(SIZES[name][1], dtype)
    x[0], x[-1] = 1e30, -1e30
    x[0, 0] = -1e30
    x.requires_grad_()
    table.requires_grad_()
    found = spline_sum(x, table, grid)
    assert found.isfinite().all()
    expected = definition(x, table, grid)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-2)
    for slope in torch.autograd.grad(found.sum(), (x, table)):
        assert slope.isfinite().all()


@EACH
def test_infinity_stays_in_its_row(name):
    size = SIZES[name][1]._replace(batch=max(4, SIZES[name][1].batch))
    x, table, grid = problem(size)
    whole = spline_sum(x, table, grid)
    x[1, 0], x[3, 0] = math.inf, -math.inf
    others = [row for row in range(size.batch) if row not in (1, 3)]
    torch.testing.assert_close(spline_sum(x, table, grid)[others], whole[others])


@EACH
def test_no_samples_give_no_values(name):
    x, table, grid = problem(SIZES[name][1])
    table.requires_grad_()
    none = spline_sum(x[:0].requires_grad_(), table, grid)
    assert none.shape == (0, SIZES[name][1].dim_out)
    none.sum().backward()
    assert table.grad is None or not table.grad.any()


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_the_number_of_threads_changes_no_bit(threads, way, monkeypatch):
    monkeypatch.setattr(native_sum, "MIN_WORK", 1)
    found = []
    before = torch.get_num_threads()
    for count in (1, threads):
        x, table, grid = problem(Size(700, 5, 9, 40, 3), torch.float32)
        parts = x.requires_grad_(), table.requires_grad_()
        torch.set_num_threads(count if way == "native" else 1)
        total = spline_sum(x, table, grid)
        found.append((total, *torch.autograd.grad(total.sin().sum(), parts)))
        torch.set_num_threads(before)
    for one, several in zip(*found, strict=True):
        assert torch.equal(one, several)


def test_other_numbers_than_the_compiled_ones_are_summed_too():
    x, table, grid = problem(Size(40, 2, 3, 8, 3), torch.float32)
    half = Grid(*(part.bfloat16() for part in grid))
    found = spline_sum(x.bfloat16(), table.bfloat16(), half)
    assert found.dtype == torch.bfloat16
    inside = ((x >= grid.first) & (x <= grid.first + 8 * grid.spacing)).all(1)
    torch.testing.assert_close(
        found[inside].float(), definition(x, table, grid)[inside], rtol=0.1, atol=0.2
    )


# Where else it is called


@EACH
def test_after_inference_mode_it_can_be_trained(name):
    """What it keeps from one call to the next must be of use to all kinds of calls."""
    size = SIZES[name][1]
    x, table, grid = problem(size._replace(batch=size.batch + 3))
    with torch.inference_mode():
        expected = spline_sum(x, table, grid)
    found = spline_sum(x.requires_grad_(), table.requires_grad_(), grid)
    torch.testing.assert_close(found.detach(), expected.clone())
    found.sum().backward()
    assert table.grad.isfinite().all()


@EACH
def test_every_batch_size_after_every_other(name):
    """A call may not leave anything behind that the next one reads wrongly."""
    x, table, grid = problem(SIZES[name][1])
    expected = definition(x, table, grid)
    count = len(x)
    for rows in (count, 1, count // 2, count, 3):
        torch.testing.assert_close(
            spline_sum(x[:rows], table, grid), expected[:rows], rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("outside", ["linear", "hold", "zero"])
@pytest.mark.parametrize("name", ["few rows, many samples", "look-up", "plain"])
def test_tables_sum_their_edges_whatever_lies_outside(name, outside):
    size = SIZES[name][1]
    x, table, _ = problem(size._replace(degree=1))
    layer = KANInterpoLayer(
        size.dim_in, size.dim_out, size.intervals + 1, outside=outside, generator=seeded(0)
    ).double()
    moved = layer_of(size)
    layer.first_knot.copy_(moved.first_knot)
    layer.spacing.copy_(moved.spacing)
    with torch.no_grad():
        layer.values.copy_(table)
    low, high = layer.grid.unbind(1)
    assert ((x < low) | (x > high)).any(0).all()
    slopes = []
    for function in (layer, lambda x: layer.edges(x).sum(1)):
        sample = x.clone().requires_grad_()
        y = function(sample)
        slopes.append((y, *torch.autograd.grad(y.square().sum(), (sample, layer.values))))
    for ours, theirs in zip(*slopes, strict=True):
        scale = theirs.abs().max()
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["few rows, many samples", "look-up"])
def test_transforms_of_large_batches_are_plain_gradients(name):
    size = SIZES[name][1]._replace(dim_out=3)
    layer = layer_of(size)
    x = problem(size)[0][:40]
    parts, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())

    def call(sample: Tensor) -> Tensor:
        return functional_call(layer, (parts, buffers), (sample[None],))[0]

    jacobian = vmap(jacrev(call))(x)
    for j in range(3):
        sample = x.clone().requires_grad_()
        (expected,) = torch.autograd.grad(layer(sample)[:, j].sum(), sample)
        torch.testing.assert_close(jacobian[:, j], expected, rtol=1e-9, atol=1e-9)
