"""The network's graph: what flows where."""

from __future__ import annotations

import pytest

from kan_exp.board.graph import MAX_EDGES, graph


def flows(units, kinds) -> dict[str, list[str]]:
    """What each node reads."""
    nodes = graph(units, kinds).node
    found = {node.name: list(node.input) for node in nodes}
    assert len(found) == len(nodes)
    assert {name for read in found.values() for name in read} <= set(found)
    return found


def test_every_edge_leads_from_its_unit_to_its_sum():
    found = flows([["x", "y"], ["h1", "h2"], ["f"]], ["Spline", "MLP"])
    for unit in ("h1", "h2"):
        assert found[f"layer_1/{unit}"] == [f"layer_1/{unit}_of_x", f"layer_1/{unit}_of_y"]
        assert found[f"layer_1/{unit}_of_y"] == ["input/y"]
        assert found[f"layer_2/f_of_{unit}"] == [f"layer_1/{unit}"]
    assert found["layer_2/f"] == ["layer_2/f_of_h1", "layer_2/f_of_h2"]
    assert found["output"] == ["layer_2/f"]
    assert len(found) == 2 + (4 + 2) + (2 + 1) + 1


def test_edges_are_called_by_the_kind_of_their_layer():
    nodes = graph([["x"], ["h1"], ["f"]], ["Spline", "MLP"]).node
    kinds = {node.name: node.op for node in nodes}
    assert kinds["layer_1/h1_of_x"] == "Spline"
    assert kinds["layer_2/f_of_h1"] == "MLP"


def test_a_layer_of_many_edges_is_one_box_that_says_how_many():
    inputs = [f"x{number}" for number in range(MAX_EDGES // 2 + 1)]
    nodes = {node.name: node for node in graph([inputs, ["h1", "h2"], ["f"]], ["A", "B"]).node}
    assert list(nodes["layer_1"].input) == [f"input/{name}" for name in inputs]
    assert nodes["layer_1"].attr["edges"].i == 2 * len(inputs)
    assert list(nodes["layer_2/f_of_h2"].input) == ["layer_1"]


@pytest.mark.parametrize(
    "names", [["a b", "a/b"], ["a", "a"], ["price (€)", "x^2"], ["a-b", "a b", "a-b-2"]]
)
def test_any_names_of_columns_will_do(names):
    found = flows([names, ["f"]], ["A"])
    assert sum(name.startswith("input/") for name in found) == len(names)
    assert all(name.count("/") <= 1 for name in found)
