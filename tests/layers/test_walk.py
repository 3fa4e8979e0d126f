"""The walk through the layers of a network, compared with calls of the layers one by one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev

from kan_exp.layers import (
    KANFourierLayer,
    KANInterpoLayer,
    KANLayer,
    KANSplineLayer,
    LayerSpec,
    make_network,
    stack_networks,
)
from kan_exp.layers.walk import layers_of, observe_domains, walk
from kan_exp.optimizers import BatchedNetworks, LevenbergMarquardt
from kan_exp.training.starts import penalty_matrix
from tests.layers.test_contract import LAYER_CONFIGS, Kind, by_loop

SPECS = [
    LayerSpec(KANSplineLayer, {"num_intervals": 5}),
    LayerSpec(KANFourierLayer, {"num_frequencies": 2}),
    LayerSpec(KANInterpoLayer, {"num_x": 7}),
]
MASKS = [
    torch.tensor([[1, 0, 1], [1, 1, 0]], dtype=torch.bool),
    torch.tensor([[0, 1], [1, 1], [1, 0]], dtype=torch.bool),
    torch.tensor([[1], [1]], dtype=torch.bool),
]
OPERATIONS = [("sum", "product", "sum"), ("product", "sum"), ("product",)]
STRAIGHT = [
    torch.tensor([[1, 0, 0], [0, 1, 1]], dtype=torch.bool),
    torch.tensor([[1, 0], [1, 0], [0, 1]], dtype=torch.bool),
    torch.tensor([[0], [1]], dtype=torch.bool),
]


def points(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def network(seed=0, masked=True, specs=SPECS, straight=True) -> nn.Sequential:
    """Three layers of different kinds, with masks, product nodes and lines if asked for."""
    generator = torch.Generator().manual_seed(seed)
    made = make_network(specs, [2, 3, 2, 1], generator).double()
    for layer, mask, operations in zip(made, MASKS, OPERATIONS, strict=True):
        for part in layer.parameters():
            part.data += 0.3 * torch.randn(part.shape, generator=generator, dtype=part.dtype)
        if masked:
            layer.set_mask(mask)
            layer.node_operation = operations
    if masked and straight:
        for layer, lines in zip(made, STRAIGHT, strict=True):
            layer.straighten(lines)
            layer.lines.data += 0.3 * torch.randn(layer.lines.shape, generator=generator)
    return made


def step_by_step(made: nn.Sequential, x: Tensor) -> Tensor:
    for layer, mask, operations in zip(made, MASKS, OPERATIONS, strict=True):
        x = by_loop(layer.edges(x), mask, operations)
    return x


@pytest.mark.parametrize("from_edges", [False, True])
def test_it_yields_what_each_layer_reads_computes_and_returns(from_edges):
    made, x = network(), points(9, 2)
    visits = list(walk(made, x, from_edges=from_edges))
    assert [visit.index for visit in visits] == [0, 1, 2]
    for visit, layer, mask, operations in zip(visits, made, MASKS, OPERATIONS, strict=True):
        assert visit.layer is layer
        assert visit.node_operation == operations
        assert torch.equal(visit.mask, mask)
        assert torch.equal(visit.inputs, x)
        assert torch.equal(visit.edges, layer.edges(x))
        torch.testing.assert_close(visit.outputs, by_loop(layer.edges(x), mask, operations))
        x = visit.outputs
    torch.testing.assert_close(x, made(points(9, 2)))


def test_all_edges_exist_and_all_nodes_sum_unless_set():
    for visit in walk(network(masked=False), points(9, 2)):
        assert visit.mask.all()
        assert visit.mask.shape == visit.edges.shape[1:]
        assert set(visit.node_operation) == {"sum"}


def test_edges_and_last_outputs_are_computed_only_if_asked_for(monkeypatch):
    made, calls = network(masked=False), []
    for layer in made:
        original = type(layer).edges
        monkeypatch.setattr(
            type(layer), "edges", lambda *args, f=original: calls.append("edges") or f(*args)
        )
        layer.register_forward_hook(lambda *_: calls.append("forward"))
    visits = list(walk(made, points(9, 2)))
    assert calls == ["forward", "forward"]
    assert visits[-1].outputs is visits[-1].outputs
    assert calls == ["forward"] * 3
    list(walk(made, points(9, 2), from_edges=True))
    assert calls == ["forward"] * 3 + ["edges"] * 2


def test_a_layer_that_is_changed_when_visited_gives_its_new_outputs():
    made, x = network(masked=False), points(9, 2)
    for visit in walk(made, x):
        if visit.index == 0:
            with torch.no_grad():
                visit.layer.values.mul_(2)
    assert torch.equal(visit.inputs, made[1](made[0](x)))


def test_modules_that_are_no_layers_are_passed_through():
    made = network(masked=False)
    mixed = nn.Sequential(nn.Tanh(), made[0], nn.Softsign(), nn.Tanh(), made[1], made[2], nn.Tanh())
    x = points(9, 2)
    assert layers_of(mixed) == list(made)
    visits = list(walk(mixed, x))
    assert [visit.index for visit in visits] == [0, 1, 2]
    assert torch.equal(visits[0].inputs, x.tanh())
    assert torch.equal(visits[1].inputs, nn.Softsign()(made[0](x.tanh())).tanh())
    assert torch.equal(visits[2].outputs.tanh(), mixed(x))


@pytest.mark.parametrize("from_edges", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_a_stack_is_walked_as_each_of_its_networks(masked, from_edges):
    each = [network(seed, masked) for seed in range(3)]
    if masked:
        each[1][0].set_mask(~MASKS[0])
    stack, x = stack_networks(each), points(3, 9, 2)
    visits = list(walk(stack, x, from_edges=from_edges, stacked=True))
    for replica, alone in enumerate(each):
        for visit, expected in zip(visits, walk(alone, x[replica]), strict=True):
            torch.testing.assert_close(visit.inputs[replica], expected.inputs)
            torch.testing.assert_close(visit.edges[replica], expected.edges)
            torch.testing.assert_close(visit.outputs[replica], expected.outputs)
            assert torch.equal(visit.mask[replica], expected.mask)
    observe_domains(stack, x.split(4, dim=1), stacked=True)
    for replica, alone in enumerate(each):
        observe_domains(alone, [x[replica]])
        for layer, stacked in zip(alone, stack, strict=True):
            torch.testing.assert_close(layer.domain, stacked.domain[replica])


def test_networks_with_and_without_masks_are_not_stacked():
    with pytest.raises(ValueError, match="the same layers masked"):
        stack_networks([network(), network(masked=False)])


def test_a_stacked_state_with_masks_is_loaded_again():
    stack = stack_networks([network(seed) for seed in range(2)])
    other = stack_networks([network(seed, masked=False) for seed in (5, 6)])
    other.load_state_dict(stack.state_dict())
    assert torch.equal(other[0].mask, stack[0].mask)


def test_a_layer_with_a_mask_is_exported():
    (layer,), x = network()[:1], points(9, 2)
    program = torch.export.export(layer, (x,)).module()
    torch.testing.assert_close(program(x), layer(x))


# Least squares


@pytest.mark.parametrize("config", LAYER_CONFIGS, ids=lambda path: path.stem)
def test_the_jacobian_of_least_squares_respects_masks_lines_and_products(config):
    kind = Kind.read(config)
    spec = LayerSpec(kind.layer, kind.options | {"x_min": -2.0} if "x_min" in kind.options else {})
    networks, x = [network(seed, specs=spec) for seed in range(2)], points(6, 2)
    stack = BatchedNetworks(networks)
    parameters = stack.read()
    outputs, jacobian = stack.jacobian(parameters, x)
    torch.testing.assert_close(stack.outputs(parameters, x), outputs)
    for k, made in enumerate(networks):
        for layer in made:  # the loop applies them itself
            layer.set_mask(None)
        torch.testing.assert_close(outputs[k], step_by_step(made, x))
        parts = dict(made.named_parameters())
        single = _Call(made)
        rows = jacrev(lambda parts, f=single, x=x: functional_call(f, parts, (x,)))(
            {f"made.{name}": part for name, part in parts.items()}
        )
        expected = torch.cat([part.flatten(2) for part in rows.values()], dim=2)
        torch.testing.assert_close(jacobian[k], expected, rtol=1e-8, atol=1e-8)


class _Call(nn.Module):
    def __init__(self, made: nn.Sequential) -> None:
        super().__init__()
        self.made = made

    def forward(self, x: Tensor) -> Tensor:
        return step_by_step(self.made, x)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (KANSplineLayer, {"num_intervals": 8}),
        (KANInterpoLayer, {"num_x": 9}),
        (KANLayer, {"fcn_hidden": 4}),
    ],
)
@torch.no_grad()
def test_least_squares_train_the_edges_that_exist_and_no_others(kind, options):
    made = network(specs=LayerSpec(kind, options), straight=False)
    x, before = points(80, 2), [part.clone() for part in made.parameters()]
    y = (x[:, :1] * 2).sin() * x[:, 1:]
    penalized = kind is not KANLayer
    quadratic = (lambda made: penalty_matrix(made, {2: 1e-6})) if penalized else None
    optimizer = LevenbergMarquardt(made, quadratic=quadratic)
    losses = [optimizer.step(lambda: (x, y)).item() for _ in range(8)]
    assert losses[-1] < 0.5 * losses[0]
    parameters = iter(zip(made.parameters(), before, strict=True))
    for layer, mask in zip(made, MASKS, strict=True):
        for name, _ in layer.named_parameters():
            part, old = next(parameters)
            by_edge = (part - old).movedim(1, 2) if name == "values" else part - old
            moved = by_edge.flatten(2).any(2) if by_edge.ndim > 2 else by_edge != 0
            assert not moved[~mask].any(), name
            assert moved[mask].any(), name


def test_least_squares_refuse_networks_of_which_some_have_masks():
    with pytest.raises(ValueError, match="the same buffers, such as masks"):
        LevenbergMarquardt([network(masked=False), network()])


@pytest.mark.parametrize("kind", [KANInterpoLayer, KANSplineLayer])
def test_the_penalty_matrix_respects_masks_and_lines(kind):
    made = network(specs=LayerSpec(kind, {}))
    weights = {1: 0.3, 2: 0.02}
    parameters = torch.cat([part.detach().flatten() for part in made.parameters()])
    expected = sum(
        weight * layer.roughness(order).mean()
        for layer in made
        for order, weight in weights.items()
    )
    found = parameters @ penalty_matrix(made, weights) @ parameters
    torch.testing.assert_close(found, expected.detach())
