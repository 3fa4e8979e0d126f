"""Names and options as TensorBoard shows them: literal, whatever they hold."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tensorboard.plugin_util import markdown_to_safe_html
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from kan_exp.board import summaries
from kan_exp.board.graph import graph
from kan_exp.board.summaries import Trial, code_block, literal, result_text, text
from kan_exp.runs.printable import printable

METRICS = {
    "versions": {"torch": "2"},
    "test_rmse": 0.1,
    "linear_rmse": 0.2,
    "test_mae": 0.1,
    "test_r2": None,
    "val_rmse": 0.1,
    "parameters": 9,
    "steps": 9,
    "best_step": 9,
    "stopped": "steps",
    "train_seconds": 1.0,
    "device": "cpu",
}
ANY = st.text(st.characters(), max_size=60) | st.text("|`*_<>&[]()\\$~#!\n ab", max_size=40)
FEW = settings(max_examples=60, deadline=None, derandomize=True)


def cells(html):
    return [unescape(re.sub("<[^>]*>", "", cell)) for cell in re.findall(r"<td>(.*?)</td>", html)]


@FEW
@given(ANY)
@example("a|b `c` **d** <script>x</script> [e](f) \\| $g$")
@example("a\nb")
@example("\ud800")
def test_any_text_is_one_cell_of_the_table(name):
    html = markdown_to_safe_html(result_text({**METRICS, "device": f"x{name}y"}))
    assert f"1.0 on x{printable(name)}y" in cells(html)
    assert html.count("<tr>") == 13  # twelve results and the empty heading
    assert literal("plain 1.5") == "plain 1.5"


def test_the_result_has_its_formulas():
    found = {"target": "a*b", "formula": "x*`E|`", "found": True, "rmse": 0.5}
    other = {"target": "c", "formula": "x", "found": False, "rmse": None}
    html = markdown_to_safe_html(result_text({**METRICS, "formulas": [found, other]}))
    assert {"formula of a*b", "x*`E|` (found; RMSE 0.5)"} <= {*cells(html)}
    assert "x (not found: the best of those tried; RMSE not finite)" in cells(html)


@pytest.mark.parametrize("name", ["```", "`````", "a\n```\nb", "x | y", "<b>", "~~~", "温度"])
def test_a_configuration_is_one_block_of_code(name):
    config = yaml.safe_dump({"target": name, "other": "```"}, allow_unicode=True, width=999)
    config += f"# {name}\n"
    html = markdown_to_safe_html(code_block(config, "yaml"))
    (code,) = re.findall(r"<code[^>]*>(.*?)</code>", html, re.DOTALL)
    assert unescape(code).strip() == config.strip()
    assert re.sub(r"<code.*</code>", "", html, flags=re.DOTALL) == "<pre></pre>"


def test_text_that_is_no_utf8_can_be_written():
    (value,) = text("config", "a\udcffb").value
    assert value.tensor.string_val[0] == b"a\\udcffb"


@FEW
@given(ANY, ANY)
def test_any_options_are_hyperparameters(name, value):
    trial = Trial([f"{name}={value}"], Path("outputs/2026-01-02/03"), None, {name: value})
    content = trial.start().value[0].metadata.plugin_data.content
    session = HParamsPluginData.FromString(content).session_start_info
    assert session.hparams[printable(name)].string_value == printable(value)
    assert session.group_name.startswith(printable(name))
    assert summaries.scalars({}).value == []


@FEW
@given(st.lists(ANY, min_size=1, max_size=6), ANY)
@example(["b", "b", "a_of_b", "", "/", "-", "x" * 200, "x" * 201], "a")
@example(["温度", "^x", "a/b", "a:0"], "$")
def test_a_graph_of_any_names_can_be_read(inputs, target):
    drawn = graph([inputs, ["h1", "h1_of_b"], [target]], ["A", "B"])
    names = [node.name for node in drawn.node]
    assert len(set(names)) == len(names) == len(inputs) + 2 * len(inputs) + 2 + 2 + 1 + 1
    for node in drawn.node:
        assert set(node.input) <= set(names)
        assert re.fullmatch(r"(input/|layer_\d/)?[\w.…-]+", node.name)
    assert drawn.SerializeToString()
