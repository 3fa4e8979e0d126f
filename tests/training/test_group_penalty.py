"""The group penalty: its value, the steps that lower it, and the edges that vanish by it."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from kan_exp.config import RunContext
from kan_exp.layers import KANInterpoLayer, KANSplineLayer, LayerSpec, make_network
from kan_exp.layers.stacking import over_replicas, stack_networks
from kan_exp.optimizers import LevenbergMarquardt
from kan_exp.preparing.checks import check
from kan_exp.preparing.experiment import make_experiment
from kan_exp.preparing.translation import run_config
from kan_exp.training.penalties import ROUNDING, group_matrix, group_penalty

SPECS = {
    "cubic": LayerSpec(KANSplineLayer, {"num_intervals": 5}),
    "parabolas": LayerSpec(KANSplineLayer, {"num_intervals": 3, "degree": 2}),
    "table": LayerSpec(KANInterpoLayer, {"num_x": 6}),
}


def make(spec, dims=(3, 2, 1), seed=0):
    generator = torch.Generator().manual_seed(seed)
    network = make_network([spec] * (len(dims) - 1), dims, generator).double()
    with torch.no_grad():
        for part in network.parameters():  # at the start edges are lines
            part.add_(torch.randn(part.shape, generator=generator), alpha=0.3)
    return network


def sparse(network):
    """Without an edge of the first layer, and with a straight one in each."""
    network[0].set_mask(torch.tensor([[True, True], [False, True], [True, True]]))
    network[0].straighten(torch.tensor([[False, True], [False, False], [False, False]]))
    network[1].straighten(torch.tensor([[True], [False]]))
    return network


def integrated(network) -> float:
    """The penalty by sums over many points, edge by edge."""
    total, gain = 0.0, torch.ones(network[-1].dim_out, dtype=torch.float64)
    for layer in reversed(network):
        places = (torch.arange(3000, dtype=torch.float64) + 0.5) / 3000
        points = torch.lerp(*layer.grid.unbind(1), places[:, None]).requires_grad_()
        means = torch.zeros(layer.dim_in, layer.dim_out, dtype=torch.float64)
        for i in range(layer.dim_in):
            for j in range(layer.dim_out):
                values = layer.edge(i, j)(points[:, i])
                (slopes,) = torch.autograd.grad(values.sum(), points, allow_unused=True)
                means[i, j] = slopes[:, i].square().mean()
                square = float(values.detach().var(correction=0) * gain[j])
                total += (square + ROUNDING**2) ** 0.25 - ROUNDING**0.5
        gain = means @ gain
    return total


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
@pytest.mark.parametrize("change", [lambda network: network, sparse], ids=["all", "sparse"])
def test_the_value_is_the_integral_and_the_form_has_its_gradient(spec, change):
    network = change(make(spec))
    penalty = group_penalty(network)
    assert penalty.item() == pytest.approx(integrated(network), rel=1e-5)
    parameters = list(network.parameters())
    expected = torch.autograd.grad(penalty, parameters)
    found = 2 * group_matrix(network) @ torch.cat([part.flatten() for part in parameters])
    torch.testing.assert_close(found, torch.cat([part.flatten() for part in expected]))


def test_constants_and_the_scale_of_a_hidden_unit_do_not_count():
    network = make(SPECS["cubic"])
    before = group_penalty(network).item()
    with torch.no_grad():
        network[0].values[:, :, 1] *= 7  # the second unit
        network[0].values[0, :, 0] += 3
        network[1].spacing[1] *= 7
    assert group_penalty(network).item() == pytest.approx(before, rel=1e-12)


def test_each_network_of_a_stack_has_its_own():
    networks = [make(SPECS["table"], seed=seed) for seed in (1, 2)]
    found = over_replicas(stack_networks(networks), group_penalty)
    torch.testing.assert_close(found, torch.stack([group_penalty(each) for each in networks]))


def test_every_step_of_least_squares_lowers_the_objective():
    network, weight = make(SPECS["cubic"]), 0.01
    x = 4 * torch.rand(80, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 2
    y = (x[:, :1] ** 2 + x[:, 1:2]).sin()
    engine = LevenbergMarquardt(network, quadratic=lambda module: weight * group_matrix(module))

    def objective() -> float:
        loss = (network(x) - y).square().mean()
        return (loss + weight * group_penalty(network)).item()

    values = [objective()]
    for _ in range(25):
        engine.step(lambda: (x, y))
        values.append(objective())
    assert all(after <= before for before, after in pairwise(values))
    assert values[-1] < values[0] / 4


def test_edges_of_idle_inputs_and_of_units_too_many_vanish():
    options = ["layer=spline", "layer.num_intervals=4", "refine.num_candidates=[2]", "points=150"]
    options += ["refine.steps=[40]", "logger=none", "~callbacks.figures", "data.num_test=100"]
    options += ["target=formula", "target.formula='exp(sin(2*x)+y)'", "target.inputs=[x,idle,y]"]
    made = run_config([*options, "dims=[auto,3,auto]", "penalty.group=1e-3"], "run")
    check(made, RunContext())
    network = make_experiment(made).fit().model.network.double()
    inner, outer = (layer.variance().detach().sqrt() for layer in network)
    unit = int(outer.argmax())
    assert outer.sum() - outer[unit] < 1e-3 < 0.5 < outer[unit]
    assert inner[1, unit] < 1e-3 * inner[[0, 2], unit].min()
