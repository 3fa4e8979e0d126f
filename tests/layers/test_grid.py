"""Grids that move: what edges on knots keep, and what they forget, when their range changes."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from kan_exp.layers import GridLayer, KANInterpoLayer, KANLayer, KANSplineLayer
from kan_exp.layers.kernels import native_sum, torch_sum

DIM_IN, DIM_OUT = 3, 4
# A kind of grid: degree and what lies beside it.
KINDS = ["table", "hold", "zero", "quadratic", "cubic", "quintic", "based"]
SMOOTH = ["table", "quadratic", "cubic", "quintic", "based"]
TIGHT = {"rtol": 1e-9, "atol": 1e-9}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make(kind: str, intervals: int = 6, x_min: float = -2.0, x_max: float = 2.0) -> GridLayer:
    """A layer of the kind as it starts out, with all digits of float64."""
    ends = {"x_min": x_min, "x_max": x_max, "generator": seeded(0)}
    if kind in ("table", "hold", "zero"):
        outside = "linear" if kind == "table" else kind
        layer = KANInterpoLayer(DIM_IN, DIM_OUT, intervals + 1, outside=outside, **ends)
    else:
        degree = {"quadratic": 2, "cubic": 3, "quintic": 5, "based": 3}[kind]
        base = "silu" if kind == "based" else "none"
        layer = KANSplineLayer(DIM_IN, DIM_OUT, intervals, degree, base=base, **ends)
    layer.double().spacing.fill_((x_max - x_min) / intervals)
    layer.reset_parameters(seeded(0))
    return layer


def noisy(kind: str, intervals: int = 6, **ends: float) -> GridLayer:
    layer, draw = make(kind, intervals, **ends), seeded(1)
    with torch.no_grad():
        for part in layer.parameters():
            part.normal_(generator=draw)
    return layer


def smooth(kind: str, intervals: int) -> GridLayer:
    """A layer whose edges bend, but not within a cell."""
    layer = make(kind, intervals)
    rate = torch.arange(1, DIM_OUT + 1, dtype=torch.float64) / 2
    layer.place(layer.grid, lambda x: torch.sin(x.unsqueeze(-1) * rate))
    return layer


def reaching(count: int = 200, seed: int = 2) -> Tensor:
    """Samples whose range is another for every input, inside and outside -2 to 2."""
    unit = torch.rand(count, DIM_IN, generator=seeded(seed), dtype=torch.float64)
    low = torch.tensor([-0.7, -3.1, 1.2], dtype=torch.float64)
    return low + unit * torch.tensor([1.1, 5.5, 0.3], dtype=torch.float64)


def ends(x: Tensor) -> Tensor:
    return torch.stack([x.amin(0), x.amax(0)], dim=1)


# Moving to where the samples are


@pytest.mark.parametrize("margin", [0.0, 0.25])
@pytest.mark.parametrize("kind", KINDS)
def test_the_grid_goes_where_the_samples_are(kind, margin):
    layer, x = noisy(kind), reaching()
    knots, shape = layer.values, layer.values.shape
    layer.fit_domain(x, margin)
    low, high = ends(x).unbind(1)
    room = margin * (high - low)
    torch.testing.assert_close(layer.grid, torch.stack([low - room, high + room], 1), **TIGHT)
    assert layer.values is knots
    assert layer.values.shape == shape
    torch.testing.assert_close(layer.knots[:, 0], layer.grid[:, 0])
    torch.testing.assert_close(layer.knots[:, -1], layer.grid[:, 1])
    assert layer.knots.diff(dim=1).std(1).max() < 1e-12


@pytest.mark.parametrize("margin", [0.0, 0.4])
@pytest.mark.parametrize("kind", SMOOTH)
def test_straight_lines_move_exactly(kind, margin):
    layer, x = make(kind), reaching()
    if kind == "based":
        nn.init.normal_(layer.base_weight, generator=seeded(3))
    everywhere = torch.linspace(-9, 9, 41, dtype=torch.float64)[:, None].expand(-1, DIM_IN)
    before = layer.edges(everywhere).detach()
    assert layer.fit_domain(x, margin) < 1e-9
    torch.testing.assert_close(layer.edges(everywhere), before, **TIGHT)


@pytest.mark.parametrize("kind", KINDS)
def test_it_tells_the_largest_change_of_an_output(kind):
    layer, x = noisy(kind), reaching()
    before = layer.edges(x).sum(1).detach().numpy()
    told = layer.fit_domain(x, 0.1)
    change = np.abs(layer.edges(x).sum(1).detach().numpy() - before)
    assert isinstance(told, float)
    assert told == pytest.approx(change.max(), rel=1e-9)
    assert told > 1e-4


@pytest.mark.parametrize(
    ("kind", "most"), [("table", 2e-2), ("quadratic", 1e-3), ("cubic", 1e-4), ("based", 1e-4)]
)
def test_refined_first_it_changes_little(kind, most):
    coarse, fine = smooth(kind, 8), smooth(kind, 8)
    x = reaching()
    x = x.clamp(-2, 2)  # beyond the grid they have a bend at its end
    fine.refine(64)
    assert fine.fit_domain(x) < most
    assert coarse.fit_domain(x) > fine.fit_domain(x)


def test_the_new_coefficients_are_the_closest_ones():
    """No other coefficients are closer on the new range, in the mean square."""
    layer, x = noisy("cubic"), reaching()
    grid = ends(x)
    fine = torch.lerp(
        *(end.unsqueeze(0) for end in grid.unbind(1)),
        torch.linspace(0, 1, 2001, dtype=torch.float64)[:, None],
    )
    before = layer.edges(fine).detach()
    layer.fit_domain(x)
    error = (layer.edges(fine) - before).square().mean()
    (slope,) = torch.autograd.grad(error, layer.values)
    # A step against the slope gains next to nothing: points of the fit and these differ a little.
    for step in (1e-2, 1e-1, 1.0):
        with torch.no_grad():
            layer.values -= step * slope
            better = (layer.edges(fine) - before).square().mean()
            layer.values += step * slope
        assert better > 0.97 * error


@pytest.mark.parametrize("kind", KINDS)
def test_an_input_that_never_varies_keeps_a_grid_around_its_value(kind):
    layer, x = noisy(kind), reaching()
    x[:, 1] = 0.3
    before = layer.edges(x).detach()
    layer.fit_domain(x)
    low, high = layer.grid[1].tolist()
    assert low < 0.3 < high
    assert layer.spacing.min() > 0
    edges = layer.edges(x)
    assert edges.isfinite().all()
    assert layer.roughness().isfinite().all()
    # Every spacing is a cell's: the edge stays about what it was there.
    assert (edges - before)[:, 1].abs().max() < 1
    assert (layer.edges(x + 0.01) - edges)[:, 1].abs().max() > 0


@pytest.mark.parametrize("value", [1e5, 1.7e9])
@pytest.mark.parametrize("kind", ["table", "cubic"])
def test_a_large_input_that_never_varies_keeps_a_grid_too(kind, value):
    """In float32 a cell may be less than the last digit of where it should lie."""
    layer, x = make(kind).float(), reaching().float()
    x[:, 1] = value
    layer.fit_domain(x)
    assert (layer.spacing > 0).all()
    assert layer(x).isfinite().all()


@pytest.mark.parametrize("kind", SMOOTH)
def test_an_input_that_never_varies_changes_no_straight_line(kind):
    layer, x = make(kind), reaching()
    x[:, 1] = 0.3
    assert layer.fit_domain(x) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_one_sample_is_enough(kind):
    layer, x = noisy(kind), reaching()[4]
    layer.fit_domain(x)
    assert (layer.spacing > 0).all()
    assert layer(x).isfinite().all()


def test_the_domain_stays_as_observed():
    """Where the knots are and what was seen are two things."""
    layer, x = noisy("cubic"), reaching()
    layer.observe(x[:50])
    seen = layer.domain.clone()
    layer.fit_domain(x)
    layer.refine(12)
    assert torch.equal(layer.domain, seen)


@pytest.mark.parametrize("kind", KINDS)
def test_it_takes_no_gradient_and_leaves_none(kind):
    layer, x = noisy(kind), reaching().requires_grad_()
    layer(x).sum().backward()
    assert layer.values.grad is not None
    layer.fit_domain(x)
    assert layer.values.grad is None  # it was that of other coefficients
    assert layer.values.requires_grad
    assert layer.values.is_leaf
    assert not layer.first_knot.requires_grad
    layer(x).square().sum().backward()
    assert layer.values.grad.shape == layer.values.shape


def test_samples_of_another_width_are_refused():
    for shape in ((5, 2), (2, 5, 3), (4,)):
        with pytest.raises(ValueError, match=r"takes x of shape \(batch, 3\)"):
            make("cubic").fit_domain(torch.zeros(shape, dtype=torch.float64))


# Penalties


@pytest.mark.parametrize("order", [1, 2, 3])
@pytest.mark.parametrize("kind", ["table", "quadratic", "cubic", "quintic"])
def test_the_curvature_matrix_is_the_quadratic_form_of_roughness(kind, order):
    layer = noisy(kind)
    layer.fit_domain(reaching())
    matrix = layer.penalty_gram_matrix(order)
    rows = layer.values.shape[1]
    assert matrix.shape == (DIM_IN, rows, rows)
    torch.testing.assert_close(matrix, matrix.transpose(1, 2))
    roughness = layer.roughness(order)
    for i in range(DIM_IN):
        for j in range(DIM_OUT):
            values = layer.values[i, :, j]
            assert (values @ matrix[i] @ values).item() == pytest.approx(roughness[i, j].item())


# Any functions on any grid


@pytest.mark.parametrize("kind", ["table", "quadratic", "cubic", "quintic"])
def test_polynomials_up_to_the_degree_are_placed_exactly(kind):
    layer = noisy(kind)
    grid = torch.tensor([[-0.5, 0.25], [10, 40], [-1e-3, 1e-3]], dtype=torch.float64)
    powers = torch.arange(layer.degree + 1)

    def edges(x: Tensor) -> Tensor:
        unit = (x - grid[:, 0]) / (grid[:, 1] - grid[:, 0])
        weights = torch.randn(
            DIM_IN, len(powers), DIM_OUT, generator=seeded(6), dtype=torch.float64
        )
        return torch.einsum("bip,ipo->bio", unit.unsqueeze(-1) ** powers, weights)

    layer.place(grid, edges)
    torch.testing.assert_close(layer.grid, grid, **TIGHT)
    unit = torch.rand(50, DIM_IN, generator=seeded(7), dtype=torch.float64)
    x = grid[:, 0] + unit * (grid[:, 1] - grid[:, 0])
    torch.testing.assert_close(layer.edges(x), edges(x), rtol=1e-8, atol=1e-8)


def test_another_layers_edges_can_be_placed():
    mlp = KANLayer(DIM_IN, DIM_OUT, 4, generator=seeded(4)).double()
    layer, x = make("cubic", intervals=60), reaching()
    layer.place(ends(x), mlp.edges)
    torch.testing.assert_close(layer.edges(x), mlp.edges(x), rtol=0, atol=1e-3)


# What an optimizer knows


@pytest.mark.parametrize("change", ["refine", "fit_domain", "move_grid", "place"])
def test_the_optimizer_forgets_the_coefficients_only(change):
    layer, x = noisy("based"), reaching()
    head = nn.Linear(DIM_OUT, 1).double()
    model = nn.Sequential(layer, head)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    truth = x.sin().sum(1, keepdim=True)

    def step() -> float:
        optimizer.zero_grad()
        loss = (model(x) - truth).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()

    for _ in range(3):
        step()
    kept = {
        part: {name: value.clone() for name, value in optimizer.state[part].items()}
        for part in (layer.base_weight, *head.parameters())
    }
    changes = {
        "refine": lambda: layer.refine(12, optimizer),
        "fit_domain": lambda: layer.fit_domain(x, optimizer=optimizer),
        "move_grid": lambda: layer.move_grid(ends(x), optimizer),
        "place": lambda: layer.place(ends(x), layer.edges, optimizer),
    }
    changes[change]()
    assert layer.values not in optimizer.state
    for part, state in kept.items():
        assert optimizer.state[part].keys() == state.keys()
        for name, value in state.items():
            assert torch.equal(optimizer.state[part][name], value)
    before = layer.values.detach().clone()
    losses = [step() for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]
    assert not torch.equal(layer.values, before)
    assert optimizer.state[layer.values]["exp_avg"].shape == layer.values.shape
    assert optimizer.state[layer.values]["step"] == 40
    assert optimizer.state[layer.base_weight]["step"] == 43


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.RMSprop])
def test_training_goes_on_after_a_refinement_with_any_optimizer(optimizer):
    layer, x = noisy("cubic"), reaching()
    trained = optimizer(layer.parameters(), lr=1e-3)
    losses = []
    for step in range(30):
        if step == 10:
            layer.refine(18, trained)
        if step == 20:
            layer.fit_domain(x, optimizer=trained)
        trained.zero_grad()
        loss = (layer(x) - x.sin()[:, :1]).square().mean()
        loss.backward()
        trained.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(map(math.isfinite, losses))


# Keeping


@pytest.mark.parametrize("kind", KINDS)
def test_a_moved_grid_is_saved_and_loaded(kind):
    layer, x, file = noisy(kind), reaching(), io.BytesIO()
    layer.fit_domain(x, 0.1)
    torch.save(layer.state_dict(), file)
    file.seek(0)
    other = make(kind)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other.grid, layer.grid)
    assert torch.equal(other.knots, layer.knots)
    assert torch.equal(other(x), layer(x))


# On the knots


@pytest.fixture(params=["native", "definition", "product", "look-up"])
def _way(request, monkeypatch):
    """Each way in which sums are made, at any size."""
    dense = 2**30 if request.param == "product" else 0
    monkeypatch.setattr(torch_sum, "DENSE_ROWS", dense)
    monkeypatch.setattr(torch_sum, "DENSE_PRODUCTS", dense)
    monkeypatch.setattr(torch_sum, "SMALL", 2**30 if request.param == "definition" else 0)
    if request.param != "native":
        monkeypatch.setattr(native_sum, "takes", lambda x: False)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("kind", SMOOTH)
def test_on_a_knot_the_slope_is_that_of_a_cell_beside_it(kind):
    """Neither twice the slope nor nothing, as clamping and rounding down can make of it."""
    layer = noisy(kind, 8, x_min=-2.0, x_max=2.0)  # knots at halves, which are exact
    x = layer.knots.T.contiguous().requires_grad_()
    (found,) = torch.autograd.grad(layer(x)[:, 3].sum(), x)
    step = 1e-6
    with torch.no_grad():
        middle, left, right = (layer.edges(x + move)[:, :, 3] for move in (0, -step, step))
    slopes = torch.stack([(middle - left) / step, (right - middle) / step])
    nearest = (slopes - found).abs().amin(0)
    assert nearest.max() < 1e-3
    if kind not in ("table", "quadratic"):
        return
    # From the knots inside a table's slope jumps; it is the one of the cell on the right.
    inside = slice(1, 8)
    torch.testing.assert_close(found[inside], slopes[1][inside], rtol=1e-3, atol=1e-3)


@pytest.mark.usefixtures("_way")
@pytest.mark.parametrize("outside", ["linear", "hold", "zero"])
def test_at_the_ends_of_a_table_the_slope_is_one_of_the_two_sides(outside):
    layer = noisy("table" if outside == "linear" else outside, 8)
    x = torch.tensor([[-2.0] * DIM_IN, [2.0] * DIM_IN], dtype=torch.float64, requires_grad=True)
    step = 1e-6
    for y in (layer(x)[:, 1], layer.edges(x)[:, :, 1].sum(1)):
        (found,) = torch.autograd.grad(y.sum(), x)
        with torch.no_grad():
            middle, left, right = (layer.edges(x + move)[:, :, 1] for move in (0, -step, step))
        slopes = torch.stack([(middle - left) / step, (right - middle) / step])
        assert (slopes - found).abs().amin(0).max() < 1e-3
