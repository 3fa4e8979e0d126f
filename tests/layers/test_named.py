"""Edges that are known functions, compared with a plain loop."""

from __future__ import annotations

import math

import pytest
import torch

from kan_exp.layers import KANNamedLayer, stack_networks
from kan_exp.layers.named import FUNCTIONS, NUMBERS, OF_TWO

ROWS = [
    [0, 0, "sin", "a"],
    [2, 0, "identity", ""],
    [1, 1, "power", "nc"],
    [0, 1, "power", ""],
    [2, 2, "exponential", "bd"],
    [0, 2, "constant", ""],
]
VALUES = torch.tensor(
    [
        [2.5, 0.25, 1.0, 1.5, -0.5],
        [0.5, 1.0, 1.0, -2.0, 0.25],
        [1.5, 3.0, 1.25, 2.0, 0.0],
        [1.0, 0.0, 3.0, 1.0, 1.0],
        [0.75, 0.5, 2.0, -1.0, 0.125],
        [1.0, 0.0, 1.0, 0.75, 0.0],
    ],
    dtype=torch.float64,
)


def layer(rows=ROWS, values=VALUES):
    """A layer of these functions; `values` are their numbers."""
    made = KANNamedLayer(3, 3, rows).double()
    made.set_numbers(values)
    return made


def inputs(rows=7):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(rows, 3, generator=generator, dtype=torch.float64) * 3 - 1


def plain(name, z, n):
    match name:
        case "identity" | "constant":
            return z if name == "identity" else 1.0
        case "power" | "exponential":
            return z**n if name == "power" else n**z
    return abs(z) if name == "abs" else getattr(math, name)(z)


def test_its_edges_are_those_of_a_loop():
    x = inputs()
    edges = layer().edges(x)
    expected = torch.zeros(7, 3, 3, dtype=torch.float64)
    for (i, j, name, _), (a, b, n, c, d) in zip(ROWS, VALUES.tolist(), strict=True):
        for row, value in enumerate(x[:, i].tolist()):
            expected[row, i, j] = c * plain(name, a * value + b, n) + d
    assert torch.allclose(edges, expected, rtol=1e-14, atol=0)
    assert torch.equal(layer().exists, (expected != 0).any(0))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_is_the_one_of_its_name(name):
    start = 1.0 if name == "acosh" else 0.0
    trained = NUMBERS if name in OF_TWO else NUMBERS.replace("n", "")
    values = torch.tensor([[0.5, start, 1.5, 2.0, 0.25]])
    made = layer([[0, 0, name, trained]], values)
    x = inputs().abs().clamp(0.1, 1.9)
    expected = [2 * plain(name, 0.5 * z + start, 1.5) + 0.25 for z in x[:, 0].tolist()]
    assert made(x)[:, 0].tolist() == pytest.approx(expected, rel=1e-14)
    assert torch.autograd.gradcheck(made, x.requires_grad_())


def test_gradients_of_each_sample_add_up():
    made, x = layer(), inputs()
    made(x).sum().backward()
    (each,) = made.sample_gradients(x, torch.ones_like(x))
    assert each.shape == (7, 5)
    assert torch.allclose(each.sum(0), made.constants.grad, rtol=1e-12)


def test_exact_powers_have_gradients_at_zero_and_below():
    values = torch.tensor([[1.0, 0.0, 2.0, 1.0, 0.0], [1.0, 0.0, 3.0, 1.0, 0.0]])
    made = layer([[0, 0, "power", "c"], [1, 0, "power", ""]], values)
    x = torch.tensor([[0.0, 0.0, 0.0], [-1.5, -2.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (slopes,) = torch.autograd.grad(made(x).sum(), x, create_graph=True)
    bends, by_constant = torch.autograd.grad(slopes.sum(), [x, made.constants])
    assert slopes.tolist() == [[0, 0, 0], [-3, 12, 0]]
    assert bends.tolist() == [[2, 0, 0], [2, -12, 0]]
    assert by_constant.tolist() == [-3]


def test_it_is_stored_and_stacked():
    made, x = layer(), inputs()
    again = KANNamedLayer(3, 3, ROWS).double()
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(x), made(x))
    with torch.no_grad():
        again.constants.mul_(1.5)
    stack = stack_networks([torch.nn.Sequential(made), torch.nn.Sequential(again)])
    assert made.num_parameters == 5
    both = stack[0].forward_stacked(torch.stack([x, x]))
    assert torch.allclose(both, torch.stack([made(x), again(x)]), rtol=1e-14)


def test_an_edge_is_shown_as_a_formula_of_its_input():
    labels = layer().labels(["x", "y", "z"])
    assert labels == [
        ["1.5*sin(2.5*x + 0.25) - 0.5", "x**3 + 1", "0.75"],
        ["", "2*(1.5*y + 3)**1.25", ""],
        ["0.25 - 2*(0.5*z + 1)", "", "0.125 - 2**(0.75*z + 0.5)"],
    ]
    rows = [[0, 0, "power", ""], [1, 0, "power", ""], [2, 0, "identity", ""], [0, 1, "sin", ""]]
    values = torch.tensor([[1, 0, -2, 3, 0], [2, 0, -0.5, -1, 1], [1, 0, 1, 1, 0], [2, 0, 1, 1, 0]])
    values = values.double()
    values[3, 0] *= math.pi
    labels = layer(rows, values).labels(["x", "y", "z"])
    assert [row[0] for row in labels] == ["3/x**2", "-1/sqrt(2*y) + 1", "identity"]
    assert labels[0][1] == "sin(2*pi*x)"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0, 0, "sinus", ""], "functions to be one of identity, constant"),
        ([3, 0, "sin", ""], r"has no edge \(3, 0\)"),
        ([0, -1, "sin", ""], r"has no edge \(0, -1\)"),
        ([0, 0, "sin", "n"], "trains some of 'abcd' of sin, each once, got 'n'"),
        ([2, 0, "sin", ""], "one function for each edge"),
        ([0, 0, "sin", "aa"], "each once, got 'aa'"),
        ([0, 0, "sin"], "letters of each edge, got"),
    ],
)
def test_wrong_functions_are_refused(row, message):
    with pytest.raises(ValueError, match=message):
        layer([row, [2, 0, "exp", ""]])
