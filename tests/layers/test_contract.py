"""What every kind of layer promises, checked on each `conf/layer/*.yaml` as it stands there.

A new kind is covered by its YAML alone. What its edges are, an oracle test of its own must say.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import io
import itertools
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.export import Dim
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

from kan_exp.layers import EdgeLayer, GridLayer, stack_networks
from kan_exp.layers.tabulation import tabulate
from tests.standin import standin

# Of the kinds of layers; spline5 is a choice of a kind's options.
LAYER_CONFIGS = [
    path
    for path in sorted((Path(__file__).parents[2] / "conf" / "layer").glob("*.yaml"))
    if "_target_" in OmegaConf.load(path)["layer"]
]
GIVEN = {"dim_in", "dim_out", "generator"}
DIM_IN, DIM_OUT, BATCH = 3, 5, 7
NO_SIZES = (0, -1, True, 2.5, "3", None)
TIGHT = {"rtol": 1e-10, "atol": 1e-10}
DEVICE = torch.device("cpu")
# Outputs with all edges, with some, and with none, for both operations.
MASK = torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 1, 0], [1, 1, 0, 0, 0]], dtype=torch.bool)
OPERATIONS = ("sum", "sum", "sum", "product", "product")
LINES = torch.tensor([[1, 1, 0, 0, 0], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0]], dtype=torch.bool)


@pytest.fixture(autouse=True)
def _device(device, monkeypatch):
    monkeypatch.setitem(globals(), "DEVICE", device)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def irregular(*shape: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    """Values that no index slip leaves the same, inside and a little outside the usual range."""
    drawn = torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
    return drawn.mul(1.1).to(DEVICE, dtype)


@dataclass
class Kind:
    """A kind of layer with the options that its YAML gives it."""

    path: Path
    layer: type[EdgeLayer]
    options: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Kind:
        options = OmegaConf.to_container(OmegaConf.load(path)["layer"], resolve=True)
        module, _, name = options.pop("_target_").rpartition(".")
        return cls(path, getattr(importlib.import_module(module), name), options)

    def start(
        self, dim_in: int = DIM_IN, dim_out: int = DIM_OUT, seed: int = 0, **others: Any
    ) -> EdgeLayer:
        """A layer as it starts out."""
        layer = self.layer(dim_in, dim_out, generator=seeded(seed), **(self.options | others))
        return layer.to(DEVICE)

    def bent(self, *dims: int, seed: int = 0) -> EdgeLayer:
        """A layer in float64 whose edges are no longer the simple ones of the start."""
        layer = self.start(*dims, seed=seed).double()
        noise = seeded(seed + 100)
        with torch.no_grad():
            for part in layer.parameters():
                part += 0.3 * torch.randn(part.shape, generator=noise, dtype=part.dtype).to(DEVICE)
        return layer


def one_line(error: type[Exception], call: Callable[[], object]) -> str:
    """The message of the error that the call must raise."""
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable()
    assert 0 < len(message) < 200
    return message


def same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found.cpu(), expected.cpu(), **TIGHT)


def finite(tensor: Tensor | None) -> bool:
    return tensor is not None and bool(tensor.isfinite().all())


def by_loop(edges: Tensor, mask: Tensor, operations: Sequence[str]) -> Tensor:
    """The outputs of nodes, one edge after the other."""
    columns = []
    for j, operation in enumerate(operations):
        output = torch.full_like(edges[:, 0, j], 1.0 if operation == "product" else 0.0)
        for i in range(edges.shape[1]):
            if mask[i, j]:
                value = edges[:, i, j]
                output = output * value if operation == "product" else output + value
        columns.append(output)
    return torch.stack(columns, dim=1)


def gradients(outputs: Tensor, parts: Sequence[Tensor]) -> list[Tensor]:
    """Of a function of the outputs that no slip leaves the same."""
    return [*torch.autograd.grad(outputs.sin().square().sum(), parts)]


# Functions of one variable, summed


def check_shapes(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    assert isinstance(layer, EdgeLayer)
    assert (layer.dim_in, layer.dim_out) == (DIM_IN, DIM_OUT)
    assert layer(x).shape == (BATCH, DIM_OUT)
    assert layer.edges(x).shape == (BATCH, DIM_IN, DIM_OUT)
    assert layer(x[:0]).shape == (0, DIM_OUT)
    assert kind.bent(1, 1)(x[:, :1]).shape == (BATCH, 1)


def check_one_sample_is_a_batch_of_one(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    assert layer(x[4]).shape == (1, DIM_OUT)
    same(layer(x[4]), layer(x)[4:5])
    same(layer.edges(x[4]), layer.edges(x)[4:5])


def check_forward_is_the_sum_of_edges(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    expected = np.zeros((BATCH, DIM_OUT))
    for i in range(DIM_IN):
        expected += layer.edges(x)[:, i].detach().cpu().numpy()
    same(layer(x), torch.from_numpy(expected))


def check_an_edge_reads_only_its_own_input(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    before = layer.edges(x)
    for i in range(DIM_IN):
        moved = x.clone()
        moved[:, i] += 0.37
        change = (layer.edges(moved) - before).abs()
        assert (change[:, i] > 1e-6).any(0).all(), f"an edge of input {i} ignores it"
        change[:, i] = 0
        assert change.max() < 1e-12, f"an edge of another input reads input {i}"


def check_edges_differ_from_each_other(kind):
    x = irregular(BATCH, 1).expand(-1, DIM_IN)
    for layer in (kind.start().double(), kind.bent()):
        assert torch.pdist(layer.edges(x).flatten(1).T).min() > 1e-3


def check_rows_are_independent(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    whole = layer(x)
    same(torch.cat([layer(row) for row in x]), whole)
    same(layer(x.flip(0)).flip(0), whole)
    moved = x.clone()
    moved[2] = 11.0
    others = [k for k in range(BATCH) if k != 2]
    same(layer(moved)[others], whole[others])


def check_memory_layout_does_not_matter(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    before = x.clone()
    same(layer(x.T.contiguous().T), layer(x))
    same(layer(torch.stack([x, -x], dim=-1)[..., 0]), layer(x))
    assert torch.equal(x, before)


def check_edge_is_a_column_of_edges(kind):
    layer, x = kind.bent(), irregular(BATCH)
    table = layer.edges(x[:, None].expand(-1, DIM_IN))
    for i, j in itertools.product(range(DIM_IN), range(DIM_OUT)):
        for function in (layer.edge(i, j), layer.take_function(i, j)):
            same(function(x), table[:, i, j])
            same(function(x[:, None]), table[:, i, j, None])
    same(layer.edge(2, 4)(x[3]), table[3, 2, 4])


def check_edge_has_a_slope(kind):
    layer, x = kind.bent(), irregular(BATCH).requires_grad_()
    (slope,) = torch.autograd.grad(layer.edge(1, 3)(x).sum(), x)
    whole = torch.stack([x.detach()] * DIM_IN, dim=1).requires_grad_()
    (expected,) = torch.autograd.grad(layer.edges(whole)[:, 1, 3].sum(), whole)
    same(slope, expected[:, 1])


def check_edge_out_of_range(kind):
    layer = kind.start()
    for i, j in ((-1, 0), (0, -1), (DIM_IN, 0), (0, DIM_OUT), (4, 2)):
        for take in (layer.edge, layer.take_function):
            message = one_line(IndexError, lambda take=take, i=i, j=j: take(i, j))
            assert f"({i}, {j})" in message
            assert kind.layer.__name__ in message


# Derivatives


def check_gradients(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    names, parts = zip(*layer.named_parameters(), strict=True)

    def call(x, *parts):
        return functional_call(layer, dict(zip(names, parts, strict=True)), (x,))

    assert torch.autograd.gradcheck(layer, (x.clone().requires_grad_(),))
    assert torch.autograd.gradcheck(call, (x.requires_grad_(), *parts), fast_mode=True)


def check_second_derivatives(kind):
    """As differential equations and penalties on slopes ask for them."""
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    names, parts = zip(*layer.named_parameters(), strict=True)

    def call(x, *parts):
        return functional_call(layer, dict(zip(names, parts, strict=True)), (x,))

    weight = irregular(BATCH, DIM_OUT, seed=2).requires_grad_()
    inputs = (x.clone().requires_grad_(), *parts)
    assert torch.autograd.gradgradcheck(layer, inputs[:1], weight)
    assert torch.autograd.gradgradcheck(call, inputs, weight, fast_mode=True)
    (slope,) = torch.autograd.grad(layer(x.requires_grad_()).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert any(part.grad is not None and part.grad.any() for part in layer.parameters())


def check_derivative_in_forward_mode(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN).requires_grad_()
    direction = irregular(BATCH, DIM_IN, seed=2)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(layer(forward_ad.make_dual(x.detach(), direction))).tangent
    for j in range(DIM_OUT):
        (slope,) = torch.autograd.grad(layer(x)[:, j].sum(), x)
        same(found[:, j], (slope * direction).sum(1))


def check_large_batches(kind):
    """A faster way for large problems gives the same values and gradients as the edges."""
    layer, x = kind.bent(40, 3), irregular(300, 40).requires_grad_()
    parts = (x, *layer.parameters())
    found, expected = layer(x), layer.edges(x).sum(1)
    same(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(found.square().sum(), parts),
        torch.autograd.grad(expected.square().sum(), parts),
        strict=True,
    ):
        scale = theirs.abs().max()
        same(ours / scale, theirs / scale)
    jacobian = vmap(jacrev(lambda x: layer(x).sum(0)))(torch.stack([x.detach(), -x.detach()]))
    for j in range(3):
        (slope,) = torch.autograd.grad(layer.edges(x)[:, :, j].sum(), x)
        torch.testing.assert_close(jacobian[0, j], slope, rtol=1e-8, atol=1e-8)


def check_gradients_of_single_samples(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    weight = irregular(BATCH, DIM_OUT, seed=2)
    found = layer.sample_gradients(x, weight)
    parts = list(layer.parameters())
    assert len(found) == len(parts)
    for k in range(BATCH):
        expected = torch.autograd.grad(layer(x[k]), parts, weight[k : k + 1])
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.shape == (BATCH, *theirs.shape)
            same(ours[k], theirs)


def check_jacobian_of_each_sample(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    parts, buffers = dict(layer.named_parameters()), dict(layer.named_buffers())

    def call(parts, sample):
        return functional_call(layer, (parts, buffers), (sample[None],))[0]

    by_part, by_x = vmap(jacrev(call, argnums=(0, 1)), in_dims=(None, 0))(parts, x)
    for k, j in itertools.product(range(BATCH), range(DIM_OUT)):
        sample = x[k].clone().requires_grad_()
        expected = torch.autograd.grad(layer(sample)[0, j], (sample, *parts.values()))
        same(by_x[k, j], expected[0])
        for name, gradient in zip(parts, expected[1:], strict=True):
            same(by_part[name][k, j], gradient)


def check_stacked_layers_equal_separate_ones(kind):
    layers = [kind.bent(seed=seed) for seed in range(4)]
    parts, buffers = stack_module_state(layers)
    # Values that hide outside the state would be the same in every replica: here they are gone.
    skeleton = copy.deepcopy(layers[0]).to("meta")
    x = irregular(4, BATCH, DIM_IN)

    def call(parts, buffers, x):
        return functional_call(skeleton, (parts, buffers), (x,))

    def loss(parts, buffers, x):
        return call(parts, buffers, x).square().sum()

    shared = vmap(call, in_dims=(0, 0, None))(parts, buffers, x[0])
    own = vmap(call)(parts, buffers, x)
    slopes = vmap(grad(loss))(parts, buffers, x)
    for k, layer in enumerate(layers):
        same(shared[k], layer(x[0]))
        same(own[k], layer(x[k]))
        layer(x[k]).square().sum().backward()
        for name, part in layer.named_parameters():
            same(slopes[name][k], part.grad)


# Masks and product nodes


def check_masks_and_products_equal_a_plain_loop(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    whole = layer.edges(x)
    rough = {order: layer.roughness(order) for order in (1, 2)}
    layer.set_mask(MASK)
    layer.node_operation = OPERATIONS
    assert layer.node_operation == OPERATIONS
    mask = MASK.to(DEVICE)
    assert torch.equal(layer.edges(x), whole * mask)
    same(layer(x), by_loop(whole, MASK, OPERATIONS))
    same(layer.edge(1, 0)(x[:, 1]), torch.zeros(BATCH).double())
    for order, before in rough.items():
        same(layer.roughness(order), before * mask)
    layer.set_mask(None)
    layer.node_operation = "sum"
    same(layer(x), whole.sum(1))
    layer.node_operation = "product"
    same(layer(x), whole.prod(1))


def check_gradients_of_masks_and_products(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN).requires_grad_()
    parts = (x, *layer.parameters())
    expected = gradients(by_loop(layer.edges(x), MASK, OPERATIONS), parts)
    layer.set_mask(MASK)
    layer.node_operation = OPERATIONS
    for ours, theirs in zip(gradients(layer(x), parts), expected, strict=True):
        same(ours, theirs)
    weight = irregular(BATCH, DIM_OUT, seed=2)
    found = layer.sample_gradients(x.detach(), weight)
    for k in range(BATCH):
        expected = torch.autograd.grad(layer(x[k]), parts[1:], weight[k : k + 1])
        for ours, theirs in zip(found, expected, strict=True):
            same(ours[k], theirs)
    again = x.detach().requires_grad_()
    assert torch.autograd.gradgradcheck(layer, (again,), weight, fast_mode=True)


def check_stacked_masks_are_those_of_each_replica(kind):
    layers = [kind.bent(seed=seed) for seed in range(3)]
    for shift, layer in enumerate(layers):
        layer.set_mask(MASK.roll(shift, 1))
        layer.node_operation = OPERATIONS
    stack = stack_networks([nn.Sequential(layer) for layer in layers])[0]
    x = irregular(3, BATCH, DIM_IN)
    found, rough = stack.forward_stacked(x), stack.roughness_stacked(2)
    for k, layer in enumerate(layers):
        same(found[k], layer(x[k]))
        same(rough[k], layer.roughness(2).mean())


def check_masks_and_products_are_part_of_the_state_once_set(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    plain = copy.deepcopy(layer.state_dict())
    assert "mask" not in plain
    layer.set_mask(MASK)
    layer.node_operation = ["product"] + ["sum"] * (layer.dim_out - 1)
    masked, other = layer.state_dict(), kind.start(seed=9).double()
    other.load_state_dict(masked)
    assert torch.equal(other(x), layer(x))
    assert torch.equal(copy.deepcopy(other)(x), layer(x))
    other.load_state_dict(plain)
    assert other.sums_all_edges
    with pytest.raises(RuntimeError, match="size mismatch for mask"):
        other.load_state_dict({**plain, "mask": MASK.T})


def check_straight_edges_are_lines(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    whole, rough = layer.edges(x), layer.roughness(2)
    layer.straighten(LINES, x)
    expected = whole.clone()
    for i, j in LINES.nonzero().tolist():  # NumPy's least squares
        line = np.polyfit(x[:, i].cpu(), whole[:, i, j].detach().cpu(), 1)
        expected[:, i, j] = torch.from_numpy(np.polyval(line, x[:, i].cpu())).to(DEVICE)
    same(layer.edges(x), expected)
    same(layer(x), expected.sum(1))
    lines = LINES.to(DEVICE)
    same(layer.roughness(2), rough * ~lines)
    same(layer.roughness(1)[lines], layer.lines[0][lines].square())
    layer.set_mask(MASK)
    layer.node_operation = OPERATIONS
    same(layer(x), by_loop(expected, MASK, OPERATIONS))
    other = kind.start(seed=9).double()
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))
    layer.straighten(None)
    layer.set_mask(None)
    assert layer.lines is None
    same(layer.edges(x), whole)


def check_edges_are_straight_beyond_limits(kind):
    """Twice the range beyond it, each edge goes on with the slope of its last twentieth."""
    layer, limits = (
        kind.bent(),
        torch.tensor([[-1.2, 1.0], [-0.5, 1.5], [-1.0, 0.8]], device=DEVICE),
    )
    low, high = limits.double().unbind(1)
    width = high - low
    inside = low + width * torch.linspace(0, 1, 9, device=DEVICE, dtype=torch.float64)[:, None]
    plain = layer.edges(inside)
    layer.set_limits(limits)
    training = layer(inside + 2 * width)
    layer.eval()
    same(layer.edges(inside), plain)
    same(layer(inside), plain.sum(1))
    if layer.straight_beyond:
        assert layer.limits is None
        return
    for end, way in ((low, -1), (high, 1)):
        beyond = [layer.edges((end + way * k * width / 2).unsqueeze(0))[0] for k in range(5)]
        ahead = layer.edges((end - way * width / 20).unsqueeze(0))[0]
        slope = 10 * (beyond[0] - ahead)  # of half a width
        for k, values in enumerate(beyond):
            same(values, beyond[0] + k * slope)
    assert not torch.equal(layer(inside + 2 * width), training)
    layer.set_mask(MASK)
    kept = copy.deepcopy(layer)
    other = kind.start(seed=9).double()
    other.load_state_dict(layer.state_dict())
    far = inside - 3 * width
    same(other.eval()(far), kept(far))
    same(kept.edges(far), layer.edges(far) * MASK.to(DEVICE))
    stacked = stack_networks([nn.Sequential(layer), nn.Sequential(other)]).eval()[0]
    same(stacked.forward_stacked(torch.stack([far, far])), torch.stack([kept(far)] * 2))


def check_gradients_of_straight_edges(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN).requires_grad_()
    layer.straighten(LINES, x.detach())
    parts = dict(layer.named_parameters())
    weight = irregular(BATCH, DIM_OUT, seed=2)
    found = torch.autograd.grad(layer(x), [x, *parts.values()], weight)
    expected = torch.where(LINES.to(DEVICE), weight.sum(0), 0)
    same(found[1 + list(parts).index("lines")][1], expected)
    samples = layer.sample_gradients(x.detach(), weight)
    for ours, theirs in zip(samples, found[1:], strict=True):
        same(ours.sum(0), theirs)
    assert torch.autograd.gradcheck(layer, (x,), fast_mode=True)


def check_parameters_are_those_of_the_edges_that_exist(kind):
    layer = kind.bent()
    every = sum(part.numel() for part in layer.parameters())
    assert layer.num_parameters == every
    shared = sum(part.numel() for part in layer.parameters() if part.numel() % MASK.numel())
    each = (every - shared) // MASK.numel()
    layer.set_mask(MASK)
    layer.straighten(LINES)
    bent, straight = int((MASK & ~LINES).sum()), int((MASK & LINES).sum())
    assert layer.num_parameters == each * bent + 2 * straight + shared


def check_wrong_masks_and_operations_are_refused(kind):
    layer, name = kind.start(), kind.layer.__name__
    for mask in (MASK.T, MASK.double(), MASK[0]):
        for choose in (layer.set_mask, layer.straighten):
            message = one_line(ValueError, lambda mask=mask, f=choose: f(mask))
            assert message.startswith(f"{name} needs a mask of booleans of shape (3, 5), got ")
    for words in ("mean", ["sum"] * 4, ["sum", "sum", "sum", "sum", "max"]):
        message = one_line(ValueError, lambda words=words: setattr(layer, "node_operation", words))
        assert message.startswith(f"{name} needs ")
        assert "node_operation" in message


# Numbers that users meet sooner or later


def check_finite_far_outside(kind):
    for dtype in (torch.float32, torch.float64):
        layer = kind.bent().to(dtype)
        far = torch.tensor([1e3, -1e3, 1e6, -1e6], dtype=dtype, device=DEVICE)
        x = torch.stack([far, far.flip(0), irregular(4, dtype=dtype)], dim=1).requires_grad_()
        y = layer(x)
        y.sum().backward()
        assert finite(y)
        assert finite(layer.edges(x))
        assert finite(x.grad)
        assert all(finite(part.grad) for part in layer.parameters())


def check_nan_stays_in_its_row(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    broken = x.clone()
    broken[4, 1] = math.nan
    y, edges = layer(broken), layer.edges(broken)
    others = [k for k in range(BATCH) if k != 4]
    assert y[4].isnan().all()
    same(y[others], layer(x)[others])
    assert edges[4, 1].isnan().all()
    assert finite(edges[4, [0, 2]])


def check_infinity_raises_nothing(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    broken = x.clone()
    broken[0, 0], broken[1, 2] = math.inf, -math.inf
    same(layer(broken)[2:], layer(x)[2:])


def check_dtype(kind):
    x = irregular(BATCH, DIM_IN)
    double = kind.bent()
    single = copy.deepcopy(double).to(torch.float32)
    for layer, dtype in ((double, torch.float64), (single, torch.float32)):
        state = [*layer.parameters(), *layer.buffers()]
        assert {part.dtype for part in state} == {dtype}
        y = layer(x.to(dtype))
        assert y.dtype == layer.edges(x.to(dtype)).dtype == layer.roughness().dtype == dtype
        assert layer.edge(0, 1)(x[:, 0].to(dtype)).dtype == dtype
    torch.testing.assert_close(single(x.float()).double(), double(x), rtol=1e-4, atol=1e-4)


def check_default_dtype(kind):
    """Who works in float64 says so once, before anything is made."""
    x = irregular(BATCH, DIM_IN)
    torch.set_default_dtype(torch.float64)
    try:
        layer = kind.start()
        layer.observe(x)
        found = [layer(x), layer.edges(x), layer.roughness(), layer.roughness(2)]
    finally:
        torch.set_default_dtype(torch.float32)
    assert {part.dtype for part in (*layer.parameters(), *found)} == {torch.float64}


def check_bfloat16(kind):
    layer = kind.start()
    x = irregular(64, DIM_IN, dtype=torch.float32).clamp(-2, 2)
    low = copy.deepcopy(layer).bfloat16()
    y = low(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), layer(x), rtol=0, atol=0.1)
    y.sum().backward()
    low.roughness().sum().backward()
    assert all(finite(part.grad) for part in low.parameters() if part.grad is not None)


def check_mixed_precision(kind):
    layer = kind.start()
    x = irregular(64, DIM_IN, dtype=torch.float32).clamp(-2, 2)
    if DEVICE.type not in ("cpu", "cuda"):
        pytest.skip(f"no automatic casts on {DEVICE.type}")
    with torch.autocast(DEVICE.type, torch.bfloat16):
        y = layer(x)
        edges = layer.edges(x)
    torch.testing.assert_close(y.float(), layer(x), rtol=0, atol=0.1)
    torch.testing.assert_close(edges.float(), layer.edges(x), rtol=0, atol=0.1)
    y.float().square().sum().backward()
    assert all(part.grad.dtype == torch.float32 for part in layer.parameters())
    assert all(finite(part.grad) for part in layer.parameters())


def check_device(kind):
    """Everything that a layer does stays on its device, with the numbers of the CPU."""
    device = standin() if DEVICE.type == "cpu" else DEVICE
    x, layer = irregular(BATCH, DIM_IN).cpu(), kind.bent().cpu()
    moved, there = copy.deepcopy(layer).to(device), x.to(device)
    assert {part.device for part in (*moved.parameters(), *moved.buffers())} == {there.device}

    def results(layer: EdgeLayer, x: Tensor) -> list[Tensor]:
        stack = stack_networks([nn.Sequential(layer)] * 2)[0]
        layer.zero_grad()
        layer(x).square().sum().backward()
        layer.observe(x)
        found = [layer(x), layer.edges(x), layer.edge(2, 3)(x[:, 2]), layer.domain]
        found += [layer.roughness(order) for order in (1, 2, 3)]
        found += [stack.forward_stacked(x.expand(2, -1, -1)), stack.roughness_stacked()]
        found += layer.sample_gradients(x, layer(x))
        found += [part.grad for part in layer.parameters()]
        for degree in (1, 3):
            table, error, _ = tabulate(layer, 12, degree)
            found += [table(x), torch.tensor(error, device=x.device, dtype=x.dtype)]
        if isinstance(layer, GridLayer):
            found += [layer.knots, layer.grid, layer.penalty_gram_matrix(1)]
            layer.refine(3 * layer.num_intervals)
            layer.fit_domain(x)
            found.append(layer(x))
        return [part.detach() for part in found]

    for found, expected in zip(results(moved, there), results(layer, x), strict=True):
        assert found.device == there.device
        same(found, expected)
    same(moved.cpu()(x), layer(x))


def check_save_and_load(kind):
    x, layer, file = irregular(BATCH, DIM_IN), kind.bent(), io.BytesIO()
    layer.observe(x)
    torch.save({name: part.cpu() for name, part in layer.state_dict().items()}, file)
    file.seek(0)
    other = kind.start(seed=9).double()
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(x), layer(x))
    assert torch.equal(other.domain, layer.domain)
    assert torch.equal(other.roughness(), layer.roughness())


def check_deepcopy(kind):
    x, layer = irregular(BATCH, DIM_IN), kind.bent()
    twin, before = copy.deepcopy(layer), layer(x)
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        for part in twin.parameters():
            part.mul_(2)
    twin.observe(x)
    assert torch.equal(layer(x), before)
    assert not torch.equal(layer.domain, twin.domain)


def check_wrong_shape_is_named(kind):
    layer = kind.start()
    for shape in ((BATCH, 4), (BATCH, 1), (DIM_OUT,), (2, BATCH, DIM_IN), ()):
        for call in (layer, layer.edges, layer.observe):
            message = one_line(ValueError, lambda call=call, shape=shape: call(torch.zeros(shape)))
            assert kind.layer.__name__ in message
            assert f"(batch, {DIM_IN})" in message
            assert message.endswith(f"got {shape}.")


# The start


def check_generator_decides_the_start(kind):
    first, again, other = (kind.start(seed=seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    parameters = dict(kind.start().named_parameters())
    assert any(not torch.equal(first[name], other[name]) for name in parameters)


def check_start_without_a_generator_is_random(kind):
    # The only check that draws from the global generator; it gives back what it took.
    state = torch.get_rng_state()
    first, other = (kind.layer(DIM_IN, DIM_OUT, **kind.options).to(DEVICE) for _ in range(2))
    torch.set_rng_state(state)
    x = irregular(BATCH, DIM_IN, dtype=torch.float32)
    assert not torch.equal(first(x), other(x))


@torch.no_grad()
def check_start_preserves_variance(kind):
    draw = seeded(5)
    for dim_in, dim_out in itertools.product((1, 2, 16, 128), (1, 7, 64)):
        shape = (max(64, 256 // dim_in), dim_in)
        for distribution in ("normal", "uniform"):
            ratios = []
            for seed in range(math.ceil(128 / dim_out)):
                if distribution == "normal":
                    x = torch.randn(shape, generator=draw).to(DEVICE)
                else:
                    x = (2 * torch.rand(shape, generator=draw).to(DEVICE) - 1) * math.sqrt(3)
                y = kind.start(dim_in, dim_out, seed=seed)(x)
                ratios.append(y.var(0).mean() / x.var(0).mean())
            ratio = torch.stack(ratios).mean()
            assert 0.5 < ratio < 2, f"{dim_in} -> {dim_out}, {distribution}: {ratio:.3f}"


# Domain and penalties


def check_observe_sets_the_domain(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    before = layer(x)
    low, high = layer.domain.unbind(1)
    assert (low < high).all()
    layer.observe(x)
    expected = np.stack([x.cpu().numpy().min(0), x.cpu().numpy().max(0)], axis=1)
    np.testing.assert_array_equal(layer.domain.cpu().numpy(), expected)
    assert "domain" in layer.state_dict()
    assert torch.equal(layer(x), before)
    layer.observe(x[2].clone().requires_grad_())
    expected = x[2, :, None].expand(-1, 2).cpu().numpy()
    np.testing.assert_array_equal(layer.domain.cpu().numpy(), expected)
    assert not layer.domain.requires_grad


def check_roughness_is_the_mean_squared_slope(kind):
    layer = kind.bent()
    for observed in (None, irregular(BATCH, DIM_IN) / 3):
        if observed is not None:
            layer.observe(observed)
        low, high = layer.smoothed_range.unbind(1)
        x = low + torch.linspace(0, 1, 20_001, dtype=low.dtype, device=DEVICE)[:, None] * (
            high - low
        )
        edges, points = (part.detach().cpu().numpy() for part in (layer.edges(x), x))
        slope = np.diff(edges, axis=0) / np.diff(points, axis=0)[..., None]
        roughness = layer.roughness()
        assert roughness.shape == (DIM_IN, DIM_OUT)
        expected = np.square(slope).mean(0)
        np.testing.assert_allclose(roughness.detach().cpu().numpy(), expected, rtol=0.02)


def check_roughness_is_measured_on_the_grid_or_else_on_the_domain(kind):
    layer = kind.bent()
    before, start = layer.roughness(), layer.domain.clone()
    layer.observe(irregular(BATCH, DIM_IN) / 3)
    assert not torch.equal(layer.domain, start)
    if isinstance(layer, GridLayer):
        assert torch.equal(layer.smoothed_range, layer.grid)
        assert torch.equal(layer.roughness(), before)
    else:
        assert torch.equal(layer.smoothed_range, layer.domain)


def check_second_roughness_is_the_mean_squared_bend(kind):
    layer = kind.bent()
    if isinstance(layer, GridLayer) and layer.degree == 1:
        pytest.skip("straight lines bend at the knots only")
    low, high = layer.domain.unbind(1)
    x = low + torch.linspace(0, 1, 8_001, dtype=low.dtype, device=DEVICE)[:, None] * (high - low)
    step = np.diff(x.cpu().numpy(), axis=0)[0, 0]
    bend = np.diff(layer.edges(x).detach().cpu().numpy(), n=2, axis=0) / step**2
    expected = np.square(bend).mean(0)
    found = layer.roughness(2).detach().cpu().numpy()
    np.testing.assert_allclose(found, expected, rtol=0.25, atol=1e-6)


def check_roughness_keeps_its_digits_on_a_narrow_domain(kind):
    """A hidden unit that has nearly stopped to vary, in float32."""
    layer = kind.bent().float()
    for order, width in ((1, 0.01), (2, 0.01), (3, 0.1)):
        layer.observe(torch.tensor([[1.0 - width] * DIM_IN, [1.0] * DIM_IN], device=DEVICE))
        expected = copy.deepcopy(layer).double().roughness(order).float()
        torch.testing.assert_close(layer.roughness(order), expected, rtol=0.05, atol=0.05)


def check_roughness_has_a_gradient(kind):
    layer = kind.bent()
    layer.roughness().sum().backward()
    slopes = [part.grad for part in layer.parameters() if part.grad is not None]
    assert all(finite(slope) for slope in slopes)
    assert any(slope.abs().max() > 0 for slope in slopes)


def check_roughness_of_flat_edges_is_zero(kind):
    layer = kind.bent()
    with torch.no_grad():
        for part in layer.parameters():
            part.zero_()
    roughness = layer.roughness()
    roughness.sum().backward()
    assert (roughness == 0).all()
    assert all(part.grad is None or finite(part.grad) for part in layer.parameters())


def check_roughness_with_an_input_that_never_varies(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    x[:, 1] = 0.25
    layer.observe(x)
    roughness = layer.roughness()
    roughness.sum().backward()
    assert finite(roughness)
    assert (roughness >= 0).all()
    assert all(part.grad is None or finite(part.grad) for part in layer.parameters())


def check_magnitude_is_the_mean_absolute_value(kind):
    layer, x = kind.bent(), irregular(BATCH, DIM_IN)
    edges = layer.edges(x)
    magnitude = layer.magnitude(edges)
    assert magnitude.shape == ()
    assert magnitude.item() == pytest.approx(np.abs(edges.detach().cpu().numpy()).mean(), rel=1e-12)
    magnitude.backward()
    assert any(part.grad.abs().max() > 0 for part in layer.parameters() if part.grad is not None)


# The YAML and the constructor


def check_yaml_lists_the_options(kind):
    assert kind.path.read_text().startswith("# @package _global_\n")
    assert set(kind.options) == set(inspect.signature(kind.layer).parameters) - GIVEN


def check_bad_sizes_are_refused(kind):
    for dims in [(size, 2) for size in NO_SIZES] + [(2, size) for size in NO_SIZES]:
        name, size = ("dim_in", dims[0]) if dims[1] == 2 else ("dim_out", dims[1])
        message = one_line(ValueError, lambda dims=dims: kind.start(*dims))
        assert message.startswith(kind.layer.__name__)
        assert name in message
        assert message.endswith(f"got {size!r}.")


def check_bad_options_are_refused(kind):
    bad = {
        int: (-1, True, 2.5, "3", None),
        float: ("low", None, math.inf, math.nan),
        str: ("nonsense", "", 3, None),
    }
    for name, value in kind.options.items():
        for wrong in bad.get(type(value), ()):
            message = one_line(ValueError, lambda name=name, w=wrong: kind.start(**{name: w}))
            assert message.startswith(kind.layer.__name__)
            assert name in message
            assert repr(wrong) in message


def check_present_options_make_it_again(kind):
    layer = kind.bent()
    if isinstance(layer, GridLayer):
        layer.refine(3 * layer.num_intervals)
        layer.fit_domain(irregular(BATCH, DIM_IN))
    given = dict(kind.options)
    options = layer.present_options(kind.options)
    assert kind.options == given
    assert set(options) == set(given)
    again = kind.start(**options).double()
    again.load_state_dict(layer.state_dict())
    x = irregular(BATCH, DIM_IN)
    assert torch.equal(again(x), layer(x))
    assert repr(again) == repr(layer)


def check_repr_tells_the_kind_and_its_size(kind):
    text = repr(kind.start())
    assert text.startswith(f"{kind.layer.__name__}(")
    assert f"dim_in={DIM_IN}, dim_out={DIM_OUT}" in text
    assert text.isprintable()


CHECKS = [check for name, check in list(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("config", LAYER_CONFIGS, ids=lambda path: path.stem)
def test_layer_keeps_its_contract(config, check, capfd):
    state = torch.get_rng_state()
    check(Kind.read(config))
    assert capfd.readouterr() == ("", ""), "a layer prints nothing"
    assert torch.equal(torch.get_rng_state(), state), "a layer leaves the global generator alone"


# Compilers and exporters, which read the code and print what they like

EACH_KIND = pytest.mark.parametrize("config", LAYER_CONFIGS, ids=lambda path: path.stem)


def fresh_slopes(layer: EdgeLayer, call: Callable[[Tensor], Tensor], x: Tensor) -> list[Tensor]:
    """Values and gradients of a call, and then none are left."""
    x = x.clone().requires_grad_()
    y = call(x)
    y.square().sum().backward()
    slopes = [x.grad, *(part.grad for part in layer.parameters())]
    layer.zero_grad()
    return [y.detach(), *slopes]


@pytest.fixture
def _new_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@EACH_KIND
@pytest.mark.usefixtures("_new_compiler")
def test_layer_compiles_as_one_graph(config):
    layer = Kind.read(config).bent()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    x = irregular(BATCH, DIM_IN)
    pairs = zip(fresh_slopes(layer, compiled, x), fresh_slopes(layer, layer, x), strict=True)
    for ours, theirs in pairs:
        same(ours, theirs)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="no C++ compiler")
@pytest.mark.usefixtures("_new_compiler")
def test_compiled_layer_gives_the_same_numbers():
    """Of one kind: what `torch.compile` is given is checked of each above."""
    (config,) = (path for path in LAYER_CONFIGS if path.stem == "spline")
    layer = Kind.read(config).bent()
    compiled = torch.compile(layer, fullgraph=True)
    x = irregular(BATCH, DIM_IN)
    pairs = zip(fresh_slopes(layer, compiled, x), fresh_slopes(layer, layer, x), strict=True)
    for ours, theirs in pairs:
        same(ours, theirs)


@pytest.mark.parametrize("batch", ["fixed", "any"])
@EACH_KIND
def test_exported_layer_gives_the_same_numbers(config, batch):
    layer, x = Kind.read(config).bent(), irregular(BATCH, DIM_IN)
    shapes = ({0: Dim("batch")},) if batch == "any" else None
    program = torch.export.export(layer, (x,), dynamic_shapes=shapes).module()
    same(program(x), layer(x))
    if batch == "any":
        for rows in (1, 2, 500, 20_000):
            other = irregular(rows, DIM_IN, seed=rows)
            same(program(other), layer(other))


@pytest.mark.slow
@EACH_KIND
def test_layer_runs_in_onnxruntime(config):
    for name in ("onnx", "onnxscript"):  # which torch.onnx needs
        pytest.importorskip(name)
    runtime = pytest.importorskip("onnxruntime")
    layer = Kind.read(config).bent().float().eval().cpu()
    x = irregular(BATCH, DIM_IN, dtype=torch.float32).cpu()
    program = torch.onnx.export(
        layer, (x,), dynamo=True, verbose=False, dynamic_shapes=({0: Dim("batch")},)
    )
    file = io.BytesIO()
    program.save(file)
    session = runtime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    for rows in (BATCH, 1, 500):
        other = irregular(rows, DIM_IN, seed=rows, dtype=torch.float32).cpu()
        (found,) = session.run(None, {given.name: other.numpy()})
        expected = layer(other).detach().cpu().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_the_contract_is_checked_on_something():
    assert {path.stem for path in LAYER_CONFIGS} >= {"interpo", "mlp", "spline", "linear"}
    assert len(CHECKS) > 35
