"""The picture of a network: its edges, units, names and what it leaves out."""

from __future__ import annotations

from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PolyCollection

from kan_exp.models.importance import Importance
from kan_exp.models.views import LayerView
from kan_exp.plots.network import NODE, network_figure
from kan_exp.plots.network_layout import MAX_EDGES, MAX_UNITS, Layout, chosen_edges
from kan_exp.plots.saving import save_svg
from tests.plots.drawn import check_texts


def tree(*groups: tuple[int, ...]) -> np.ndarray:
    """The mask of nodes with these inputs."""
    mask = np.zeros((max(map(max, groups)) + 1, len(groups)), dtype=bool)
    for j, group in enumerate(groups):
        mask[list(group), j] = True
    return mask


TREE = [tree((0, 1), (2, 3), (4, 5), (6, 7)), tree((0, 1), (2, 3)), tree((0, 1))]


def made(
    dims: list[int] | None = None,
    masks: list[np.ndarray] | None = None,
    names: list[str] | None = None,
    products: dict[int, list[bool]] | None = None,
    method: str = "ablation",
) -> tuple[list[LayerView], Importance]:
    """A network of waves with random importance."""
    rng = np.random.default_rng(0)
    masks = masks or [np.ones(shape, bool) for shape in pairwise(dims)]
    widths = [len(masks[0]), *(mask.shape[1] for mask in masks)]
    units = [[f"{letter}{k}" for k in range(n)] for letter, n in zip("xghy", widths, strict=False)]
    units[0] = names or units[0]
    values = [rng.uniform(0.1, 1, mask.shape) * mask for mask in masks]
    views = []
    for depth, mask in enumerate(masks):
        x = np.linspace(-1, 1, 40)[:, None].repeat(len(mask), 1)
        y = np.sin(rng.uniform(1, 4, mask.shape) * x[:, :, None])
        views.append(
            LayerView(
                number=depth + 1,
                input_names=units[depth],
                output_names=units[depth + 1],
                x=0.8 * x,
                y=y,
                curve_x=x,
                curve_y=y,
                domain=np.array([[-1.0, 1.0]] * len(mask)),
                truth=None,
                mask=mask,
                products=np.array((products or {}).get(depth, [False] * mask.shape[1])),
            )
        )
    return views, Importance(values, masks, units, method)


def parts(figure, kind):
    return [artist for artist in figure.artists if isinstance(artist, kind)]


def strongest(importance: Importance) -> float:
    return max(values.max() for values in importance.layers)


@pytest.mark.parametrize(
    "dims", [[1, 1], [2, 1, 1], [2, 5, 1], [4, 9, 1], [10, 3, 1], [6, 3, 2, 1]]
)
def test_every_edge_is_drawn_with_a_curve_on_its_line(dims):
    views, importance = made(dims)
    figure = network_figure(views, importance)
    count = sum(mask.size for mask in importance.masks)
    lines, curves, _ = parts(figure, LineCollection)
    (boxes,) = parts(figure, PolyCollection)
    assert len(lines.get_segments()) == len(curves.get_segments()) == count
    for line, path in zip(lines.get_segments(), boxes.get_paths(), strict=True):
        (x, y), (low, high) = path.vertices[:4].mean(0), line
        share = (x - low[0]) / (high[0] - low[0])
        assert 0 < share < 1
        assert y == pytest.approx(low[1] + share * (high[1] - low[1]))
    widths = lines.get_linewidths()
    assert list(widths) == sorted(widths)  # the most important is drawn last
    assert widths[-1] > 2 * widths[0] or count == 1
    shown = check_texts(figure)
    assert {*importance.names[0], *importance.names[-1]} <= {*shown}
    assert f"at most {strongest(importance):.2g} of its" in " ".join(shown)


@pytest.mark.parametrize(
    "network", [made([2, 5, 1]), made([4, 9, 1]), made(masks=TREE)], ids=["2-5-1", "4-9-1", "tree"]
)
def test_diagrams_lie_neither_on_nodes_nor_on_each_other(network):
    importance = network[1]
    layout = Layout(chosen_edges(importance), importance)
    size, centers = np.array(layout.size), layout.diagrams
    shared = (1 - np.abs(centers[:, None] - centers) / size).clip(0).prod(-1)
    np.fill_diagonal(shared, 0)
    assert shared.max() < 0.15  # of a diagram
    nodes = np.array([place for nodes in layout.nodes for place in nodes.values()])
    away = np.abs(centers[:, None] - nodes) - size / 2
    assert (away.max(-1) > NODE / 2).all()


def test_diagrams_of_a_tree_stand_in_columns_and_its_products_are_marked():
    products = {0: [True, False, False, True], 1: [False, True]}
    views, importance = made(masks=TREE, products=products)
    layout = Layout(chosen_edges(importance), importance)
    assert len({round(x, 6) for x in layout.diagrams[:, 0]}) == 3
    figure = network_figure(views, importance)
    crosses = parts(figure, LineCollection)[-1].get_segments()
    places = {
        tuple(np.round(stroke.mean(0) - figure_origin(figure, layout), 6)) for stroke in crosses
    }
    nodes = [layout.nodes[1][0], layout.nodes[1][3], layout.nodes[2][1]]
    assert places == {tuple(np.round(node, 6)) for node in nodes}


def figure_origin(figure, layout):
    """Where the network begins in the figure."""
    lines = parts(figure, LineCollection)[0].get_segments()
    return np.min([line[0] for line in lines], 0) - np.min(layout.lines[:, 0], 0)


def test_pruned_edges_and_units_are_gone_and_unused_inputs_stay():
    masks = [tree((0,), (1,), (0, 1)), tree((0, 2))]
    masks[0] = np.concatenate([masks[0], [[False] * 3]])  # nothing reads x2
    masks[0][:, 1] = False  # g1 has no edge at all
    views, importance = made(masks=masks)
    figure = network_figure(views, importance)
    assert len(parts(figure, LineCollection)[0].get_segments()) == 5
    assert {*check_texts(figure)[:-1]} == {"x0", "x1", "x2", "g0", "g2", "h0"}


def test_hidden_units_without_all_edges_lie_near_their_inputs():
    views, importance = made(masks=[tree((4, 5), (0, 1), (2, 3)), tree((0, 1, 2))])
    layout = Layout(chosen_edges(importance), importance)
    assert layout.units[1] == [1, 2, 0]
    assert Layout(chosen_edges(made([6, 3, 1])[1]), made([6, 3, 1])[1]).units[1] == [0, 1, 2]
    network_figure(views, importance)


def test_of_many_edges_the_strongest_of_each_layer_are_drawn_and_that_is_said():
    views, importance = made([70, 30, 2], method="gradient")
    importance.layers[1][:] += 10.0  # of which none would be left in the first layer
    figure = network_figure(views, importance)
    edges = chosen_edges(importance)
    assert len(edges) == MAX_EDGES
    assert sum(edge.layer == 1 for edge in edges) == 60
    drawn = {(edge.i, edge.j) for edge in edges if edge.layer == 0}
    assert len({i for i, _ in drawn}) <= MAX_UNITS
    shown = check_texts(figure)
    assert f"The {MAX_EDGES} strongest of 2,160 edges" in " ".join(shown).replace("\n", " ")
    assert "estimated by gradients" in " ".join(shown)
    unnamed = {f"x{i}" for i in range(70)} - {*shown}
    assert unnamed == {f"x{i}" for i in range(70)} - {f"x{i}" for i, _ in drawn}


def test_nearly_constant_edges_look_flat():
    views, importance = made([2, 1])
    views[0].curve_y[:, 1] *= 1e-6  # with them `y`, the same array
    curves = parts(network_figure(views, importance), LineCollection)[1].get_segments()
    heights = sorted(np.ptp(curve[:, 1]) for curve in curves)
    assert heights[0] < 1e-3 * heights[1]


def test_of_an_input_with_few_values_only_these_are_joined():
    views, importance = made([3, 1])
    views[0].x[:, 0], views[0].x[:, 1] = np.arange(40) % 3, 5.0
    shown = {
        len(c) for c in parts(network_figure(views, importance), LineCollection)[1].get_segments()
    }
    inside = int((np.abs(views[0].curve_x[:, 2]) <= 0.8).sum())
    assert shown == {3, 2, inside}


NAMES = ["a" * 200, "a" * 199 + "b", "$x^2$", "<&> \x00\n", "∂u/∂t", "", "x\u0301" * 50, "שלום"]


def test_names_are_literal_and_fit_and_the_svg_is_well_formed(tmp_path):
    views, importance = made([len(NAMES), 2, 2], names=NAMES)
    figure = network_figure(views, importance)
    shown = check_texts(figure)
    assert {"$x^2$", "∂u/∂t", "(unnamed)"} <= {*shown}
    assert len({*shown}) == len(NAMES) + 2 + 2 + 1  # all names differ, and the caption
    for name in "ab":
        save_svg(figure, tmp_path / f"{name}.svg")
    content = (tmp_path / "a.svg").read_bytes()
    assert content == (tmp_path / "b.svg").read_bytes()
    assert ElementTree.fromstring(content).tag.endswith("svg")
    assert b"<text" not in content  # outlines: drawn alike wherever it is shown


@pytest.mark.parametrize("edges", ["constant", "none", "not finite"])
def test_degenerate_networks(edges):
    views, importance = made([2, 2, 1])
    if edges == "not finite":
        importance.layers[0][0, 0] = np.nan
        with pytest.raises(ValueError, match="not finite"):
            network_figure(views, importance)
        return
    for view, values, mask in zip(views, importance.layers, importance.masks, strict=True):
        values[:] = 0
        mask[:] = edges == "constant"
        view.curve_y[:] = view.x[:] = 1.0 if edges == "constant" else 0.0
    shown = check_texts(network_figure(views, importance))
    assert {"x0", "x1", "h0"} <= {*shown}


def test_the_table_of_importance_has_the_strongest_first():
    importance = made(masks=TREE)[1]
    rows = importance.table()
    assert len(rows) == 14
    assert [row.importance for row in rows] == sorted((r.importance for r in rows), reverse=True)
    first = rows[0]
    i, j = int(first.input[1:]), int(first.output[1:])
    assert first.importance == importance.layers[first.layer - 1][i, j]
