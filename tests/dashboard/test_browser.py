"""What a user sees who has trained a few networks and runs `python -m kan_exp.dashboard`."""

from __future__ import annotations

import json
import re

import pytest

from scripts.browser import wait_for
from tests.conftest import run_folders
from tests.dashboard.conftest import SHORT, STEPS

pytestmark = pytest.mark.slow

SCALARS = {"loss/train", "loss/val", "lr", "error/train_rmse", "error/val_rmse", "error/val_r2"}
IMAGES = {"edges/layer_1", "edges/layer_2", "result/loss", "result/network", "result/prediction"}
# TensorBoard ticks the first five only.
METRICS = ("test_rmse", "val_rmse", "test_mae", "test_r2", "train_seconds")

# The longest line that the card of a tag or a title draws, in pixels.
LINE_LENGTH = """
const [kind, name] = arguments;
const card = seen.find(e => e.tagName === kind && (e.tag === name || e.title === name));
const lines = card ? deep(card.shadowRoot).filter(e => e.matches('svg path')) : [];
return Math.max(0, ...lines.map(line => line.getTotalLength()));
"""
# The cells of the table of runs, with their places: their order in the page is not the table's.
CELLS = """
return seen.filter(e => e.tagName === 'VAADIN-GRID-CELL-CONTENT').map(cell => {
    const {x, y} = cell.getBoundingClientRect();
    return [cell.innerText.trim(), Math.round(x), Math.round(y)];
});
"""


def trials(page) -> dict[str, dict[str, str]]:
    """The rows of the table by their names; the rest of a row by its columns."""
    cells = page.ask(CELLS)
    top = next((y for text, _, y in cells if text == "Trial ID"), None)
    columns = {x: text for text, x, y in cells if y == top and text}
    rows: dict[int, dict[str, str]] = {}
    for text, x, y in cells:
        if y != top and text and x in columns:
            rows.setdefault(y, {})[columns[x]] = text
    assert all({"Trial ID", "layer", "train_seconds"} <= set(row) for row in rows.values()), cells
    return {row["Trial ID"]: row for row in rows.values()}


def test_scalars_are_drawn(page):
    page.open("scalars")
    page.wait_for_texts(*SCALARS - {"lr"})  # TensorBoard opens the first two groups only
    page.click("lr")
    for tag in SCALARS:
        wait_for(
            f"line for {tag}", lambda tag=tag: page.ask(LINE_LENGTH, "TF-SCALAR-CARD", tag) > 50
        )


def test_images_of_several_moments_are_loaded(page):
    page.open("images")
    page.wait_for_texts(*IMAGES)
    widths = "return seen.filter(e => e.tagName === 'IMG').map(e => e.naturalWidth);"
    runs = 3
    shown = runs * len(IMAGES) + 2  # and the replicas' own figure, of the two stacks
    wait_for("every figure", lambda: sum(width > 0 for width in page.ask(widths)) == shown)
    sliders = page.ask("return seen.filter(e => e.tagName === 'PAPER-SLIDER').map(e => e.max);")
    # After brightness and contrast, the edges': from the first moment to the last.
    assert sliders[2:] == [2] * 2 * runs


def test_curves_that_belong_together_are_drawn_together(page):
    page.open("custom_scalars")
    page.wait_for_texts("Loss and RMSE", "Penalties", "Replicas, RMSE")
    line, band = (f"TF-CUSTOM-SCALAR-{kind}-CHART-CARD" for kind in ("MULTI-LINE", "MARGIN"))
    for title in ("loss", "RMSE", "penalties"):
        wait_for(title, lambda title=title: page.ask(LINE_LENGTH, line, title) > 50)
    spread = "loss of replicas, validation: median and quartiles"
    wait_for("band", lambda: page.ask(LINE_LENGTH, band, spread) > 50)
    # Both curves of the single run, and the medians of both curves of the two stacks.
    assert page.texts().count("Matches (6)") == 2


def test_text_shows_the_configuration_and_the_result(page, outputs):
    page.open("text")
    page.wait_for_texts("config", "result")
    config = wait_for("config", lambda: [t for t in page.texts() if "dims:\n- 2\n" in t])
    assert f"steps: {STEPS}\n" in config[0]
    page.wait_for_texts("test RMSE", "stopped by", "versions")
    for folder in run_folders(outputs.parent):
        metrics = json.loads((folder / "metrics.json").read_text())
        assert any(t.startswith(f"{metrics['test_rmse']:.4g} (linear") for t in page.texts())


def test_hparams_has_a_row_with_results_for_every_seed(page, outputs):
    page.open("hparams")
    shown = wait_for("five trials", lambda: len(trials(page)) == 5 and trials(page))
    found = {}
    for folder in run_folders(outputs.parent):
        metrics = json.loads((folder / "metrics.json").read_text())
        layer = metrics["choices"]["layer"]
        for one in metrics.get("replicas", {}).get("each", [{"seed": 0}]):
            found[layer, one["seed"]] = {**metrics, **one}
    assert {(row["layer"], int(float(row["seed"]))) for row in shown.values()} == set(found)
    for name, row in shown.items():
        overrides = name.split(" (")[0].split(", ")
        asked = ["penalty.l1_edges=1e-4", *SHORT[1:]]
        if row["layer"] != "rbf":
            asked = [*SHORT, f"seed={float(row['seed']):g}"]
        assert overrides == [f"layer={row['layer']}", *asked]
        for metric in METRICS:
            expected = found[row["layer"], int(float(row["seed"]))][metric]
            assert float(row[metric]) == pytest.approx(expected, rel=1e-4)


def test_parallel_coordinates_has_a_line_for_every_seed(page):
    page.open("hparams")
    page.click("PARALLEL COORDINATES VIEW")
    lines = """
    return seen.filter(e => e.matches('.foreground path') && e.getTotalLength() > 50).length;
    """
    wait_for("five lines", lambda: page.ask(lines) == 5)
    axes = page.wait_for_texts(*METRICS, "layer", "seed")
    assert not any(re.search("^(loss|error|penalty)/", text) for text in axes)


def test_graphs_shows_the_network(page):
    page.open("graphs")
    page.wait_for_texts("input", "layer_1", "layer_2", "output")
