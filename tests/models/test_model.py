"""The model in the user's units, and what it tells about its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from kan_exp.data.points import Scaling
from kan_exp.errors import KanExpError
from kan_exp.layers import KANInterpoLayer, KANLayer, KANSplineLayer
from kan_exp.layers.importance import edge_importance
from kan_exp.models.model import MAX_POINTS

KINDS = [KANInterpoLayer, KANLayer, KANSplineLayer]


def points(count: int = 50, seed: int = 0) -> torch.Tensor:
    unit = torch.rand(count, 2, generator=torch.Generator().manual_seed(seed))
    return torch.tensor([-1, 0.5]) + unit * torch.tensor([3, 0.5])


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


# Units


@pytest.mark.parametrize("layer", KINDS)
@torch.no_grad()
def test_model_works_in_the_users_units(make_data, make_model, layer):
    data = make_data()
    model = make_model(data, layer=layer)
    x = points()
    standard = (x.double().numpy() - [0.5, 0.75]) / (np.array([3, 0.5]) / math.sqrt(12))
    inner = model.network(torch.from_numpy(standard).float()).double().numpy()
    y = data.train.y.double().numpy()
    assert model(x).shape == (50, 1)
    np.testing.assert_allclose(model(x), inner * y.std() + y.mean(), rtol=1e-4, atol=1e-4)


def test_float64_inputs_keep_their_digits(make_data, make_model):
    data = make_data()
    shift = torch.tensor([1.7e9, 0.75], dtype=torch.float64)
    data.scaling = Scaling(shift, torch.ones(2), torch.ones(1), torch.ones(1))
    model = make_model(data)
    x = random(20, 2)
    expected = model.network(x.float()) + 1
    assert torch.allclose(model(x + shift), expected, atol=1e-4)


def test_prediction_is_forward_in_batches(make_data, make_model):
    model = make_model(make_data())
    x = points(2 * MAX_POINTS + 7)
    sizes = []
    handle = model.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    predicted = model.predict(x)
    handle.remove()
    assert sizes == [MAX_POINTS, MAX_POINTS, 7]
    assert not predicted.requires_grad
    expected = model(x)
    assert expected.requires_grad
    torch.testing.assert_close(predicted, expected.detach())


@torch.no_grad()
def test_wide_layers_are_looked_at_in_smaller_batches(make_data, make_model, monkeypatch):
    model = make_model(make_data(), layer=KANLayer)
    x, truths = points(57), [random(57, 2), random(57, 1)]
    expected, whole = model.predict(x), model.views(x, truths)
    model.observe(x)
    domains = [layer.domain.clone() for layer in model.network]
    # The widest layer holds 2 inputs x 3 outputs x 4 hidden units for each sample.
    monkeypatch.setattr("kan_exp.models.model.EVALUATION_NUMBERS", 10 * 24 + 23)
    sizes = []
    for layer in model.network:
        layer.register_forward_hook(lambda _, inputs, __: sizes.append(len(inputs[0])))
    torch.testing.assert_close(model.predict(x), expected)
    assert sizes == [size for size in (10, 10, 10, 10, 10, 7) for _ in range(2)]
    model.observe(x)
    for layer, domain in zip(model.network, domains, strict=True):
        torch.testing.assert_close(layer.domain, domain)
    for view, other in zip(model.views(x, truths), whole, strict=True):
        np.testing.assert_allclose(view.y, other.y, rtol=1e-5, atol=1e-6)
    monkeypatch.setattr("kan_exp.models.model.EVALUATION_NUMBERS", 5)
    torch.testing.assert_close(model.predict(x[:3]), expected[:3])  # one at a time at least


@torch.no_grad()
def test_observe_sets_each_layers_domain_to_what_reaches_it(make_data, make_model):
    model = make_model(make_data(), dims=(2, 3, 2, 1))
    x = points(30)
    model.observe(x)
    reaching = (x - model.x_mean) / model.x_std
    for layer in model.network:
        for i, column in enumerate(reaching.T.tolist()):
            assert layer.domain[i].tolist() == [min(column), max(column)]
        reaching = layer(reaching)


@pytest.mark.parametrize(
    ("dims", "names"),
    [
        ((2, 1), [["x", "y"], ["f"]]),
        ((2, 3, 1), [["x", "y"], ["h1", "h2", "h3"], ["f"]]),
        ((2, 2, 1, 1), [["x", "y"], ["h1.1", "h1.2"], ["h2.1"], ["f"]]),
    ],
)
def test_units_have_names(make_data, make_model, dims, names):
    assert make_model(make_data(), dims).unit_names() == names


# Views


@pytest.mark.parametrize("layer", KINDS)
@pytest.mark.parametrize("dims", [(2, 1), (2, 3, 1), (2, 3, 2, 1)])
@torch.no_grad()
def test_views_show_the_edges_in_the_users_units(make_data, make_model, layer, dims):
    model = make_model(make_data(), dims, layer)
    x = points(25)
    views = model.views(x)
    names = model.unit_names()
    assert [view.number for view in views] == list(range(1, len(dims)))
    reaching = (x - model.x_mean) / model.x_std
    for depth, (view, edges) in enumerate(zip(views, model.network, strict=True)):
        first, last = depth == 0, depth == len(dims) - 2
        assert (view.input_names, view.output_names) == (names[depth], names[depth + 1])
        gain = model.y_std.item() if last else 1.0
        shown = x if first else reaching
        np.testing.assert_allclose(view.x, shown, rtol=1e-5, atol=1e-6)
        curve = torch.from_numpy(view.curve_x)
        low, high = shown.amin(0), shown.amax(0)
        assert (curve.amin(0) < low).all()  # the curve goes on a little beyond the data
        assert (curve.amax(0) > high).all()
        assert (curve.diff(dim=0) > 0).all()
        if first:
            curve = (curve - model.x_mean) / model.x_std
        for i in range(edges.dim_in):
            for j in range(edges.dim_out):
                function = edges.edge(i, j)
                expected = function(curve[:, i].float()) * gain
                np.testing.assert_allclose(view.curve_y[:, i, j], expected, rtol=1e-4, atol=1e-4)
                expected = function(reaching[:, i]) * gain
                np.testing.assert_allclose(view.y[:, i, j], expected, rtol=1e-4, atol=1e-5)
        reaching = edges(reaching)
    # The last layer's edges add up to the prediction, its mean aside.
    total = views[-1].y.sum(1) + model.y_mean.item()
    np.testing.assert_allclose(total, model.predict(x), rtol=1e-4, atol=1e-4)
    assert all(view.truth is None for view in views)


@torch.no_grad()
def test_views_of_masked_layers_show_the_edges_that_exist(make_data, make_model):
    model, x = make_model(make_data()), points(25)
    mask = torch.tensor([[True, False, True], [False, True, False]])
    model.network[0].set_mask(mask)
    model.network[1].node_operation = "product"
    first, last = model.views(x)
    assert first.shown() == [(0, 0), (0, 2), (1, 1)]
    assert last.shown() == [(0, 0), (1, 0), (2, 0)]
    assert not first.y[:, ~mask.numpy()].any()
    hidden = torch.from_numpy(first.y.sum(1)).float()
    np.testing.assert_allclose(last.x, hidden, rtol=1e-5, atol=1e-6)
    total = (last.y / model.y_std.item()).prod(1) * model.y_std.item() + model.y_mean.item()
    np.testing.assert_allclose(total, model.predict(x), rtol=1e-4, atol=1e-4)
    model.observe(x)
    assert model.network[1].domain[0].tolist() == [hidden[:, 0].min(), hidden[:, 0].max()]


def test_several_outputs_are_numbered(make_data, make_model):
    model = make_model(make_data(), (2, 3, 2))
    assert model.unit_names()[-1] == ["f1", "f2"]
    assert model.views(points(5))[-1].output_names == ["f1", "f2"]


@pytest.mark.parametrize(
    ("dims", "widths", "fits"),
    [
        ((2, 1, 1), (2, 1), [True, True]),
        ((2, 5, 1), (2, 1), [True, False]),  # later units are not the formula's
        ((2, 1), (2,), [True]),
        ((2, 1), (2, 1), [False]),  # another depth, another meaning
        ((2, 1, 1), (2,), [False, False]),
        ((2, 1, 1, 1), (2, 1), [False, False, False]),
        ((2, 3, 1, 1), (2, 1, 1), [True, False, False]),
        ((2, 1, 1), (), [False, False]),
    ],
)
def test_truth_is_shown_where_it_means_the_same(make_data, make_model, dims, widths, fits):
    x = points(12)
    truths = [random(12, width, seed=width) for width in widths]
    views = make_model(make_data(), dims).views(x, truths)
    assert [view.truth is not None for view in views] == fits
    for view, truth in zip(views, truths, strict=False):
        if view.truth is not None:
            np.testing.assert_array_equal(view.truth, truth)


# Importance of edges


def test_importance_is_that_of_the_network_in_names_and_the_users_units(make_data, make_model):
    data = make_data()
    model = make_model(data)
    mask = torch.tensor([[True, True, False], [True, False, True]])
    model.edge_layers[0].set_mask(mask)
    x, weight = points(60), torch.arange(60.0)
    importance = model.importance(x, weight)
    expected = edge_importance(model.network, model.standardize(x), weight=weight)
    for values, own in zip(importance.layers, expected, strict=True):
        np.testing.assert_allclose(values, own.double().numpy())
    assert not importance.estimated
    rows = importance.table()
    assert len(rows) == 4 + 3
    by_name = {(row.layer, row.input, row.output): row.importance for row in rows}
    assert by_name[1, "y", "h3"] == importance.layers[0][1, 2]
    assert by_name[2, "h2", model.target_name] == importance.layers[1][1, 0]
    assert rows[0].importance == max(by_name.values())
    assert importance.table() == model.importance(x.numpy(), weight).table()


def test_importance_in_wide_networks_is_estimated_and_many_points_are_thinned(
    make_data, make_model, monkeypatch
):
    model = make_model(make_data())
    x = points(100)
    monkeypatch.setattr("kan_exp.models.model.ablation_samples", lambda _: 50)
    thinned, half = model.importance(x), model.importance(x[::2])
    np.testing.assert_array_equal(thinned.layers[0], half.layers[0])
    monkeypatch.setattr("kan_exp.models.model.ablation_samples", lambda _: 0)
    estimated = model.importance(x)
    assert estimated.estimated
    every = x[::4]  # no fewer than 32 are asked for
    expected = edge_importance(model.network, model.standardize(every), method="gradient")
    np.testing.assert_allclose(estimated.layers[1], expected[1].double().numpy())


@pytest.mark.parametrize("x", [torch.empty(0, 2), torch.tensor([[1.0, math.nan], [0.0, 1.0]])])
def test_importance_needs_points_that_are_numbers(make_data, make_model, x):
    with pytest.raises(KanExpError, match=r"^model\.importance takes at least one point"):
        make_model(make_data()).importance(x)
