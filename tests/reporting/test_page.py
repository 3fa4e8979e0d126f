"""The page opens by itself: nothing is loaded, nothing that a run is called can become markup."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser

import pytest

from kan_exp.reporting.comparison import compare_runs
from kan_exp.reporting.notes import make_notes
from kan_exp.reporting.page import page
from kan_exp.reporting.report_figures import error_figure
from kan_exp.reporting.statistics import Bootstrap
from kan_exp.runs.records import read_records
from tests.reporting.conftest import write_run

EVIL = "<script src=//evil.example></script>\"'&"
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and holds that every tag is closed in order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], ""

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def html(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    for seed, error in enumerate([0.1, 0.2, None]):
        state = "failed" if error is None else "done"
        typed = {"layer": EVIL}
        write_run(root / f"a{seed}", error, seed=seed, typed=typed, state=state, reason=EVIL)
    write_run(root / "b", 0.3, typed={"layer": "plain"})
    found = {"target": EVIL, "formula": f"x*{EVIL}", "found": True}
    found["differences"] = [{"between": "formula - data", "rmse": 0.0125}]
    (root / "b" / "formula.json").write_text(json.dumps({"outputs": [found, None, {}]}))
    (root / "a0" / "formula.json").write_text("damaged")
    summary = compare_runs(read_records([root]), "test_rmse", None, Bootstrap(0.95, 100, 0))
    figures = [[error_figure(summary.sections[0].settings, "test_rmse", 9)]]
    return page(summary, make_notes(summary), [EVIL], figures, 9, 9, 0.95)


@pytest.fixture(scope="module")
def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.open
    return reader


def test_nothing_is_loaded_from_elsewhere(html, read):
    assert "script" not in read.tags
    assert "link" not in read.tags
    addresses = [value for name, value in read.attributes if name in ("src", "href", "srcset")]
    assert addresses
    assert all(address.startswith("data:image/svg+xml;base64,") for address in addresses)
    assert not re.search(r"url\(|@import|https?://", html)
    assert "default-src 'none'" in html
    for address in addresses:
        assert base64.b64decode(address.partition(",")[2]).startswith(b"<svg")


def test_the_page_says_what_the_runs_are_and_what_is_missing(read):
    for said in ("test_rmse of 4 runs", "3 of 4 finished", "2 of 3", "1 failed", EVIL, "plain"):
        assert said in read.text
    assert "too few seeds to tell" in read.text
    assert "95% lie in it" in read.text


def test_the_page_has_the_formulas_of_runs(read):
    assert f"{EVIL} = x*{EVIL}found0.0125" in re.sub(r"\s*\n\s*", "", read.text)


def test_the_page_is_made_for_a_telephone_and_for_the_dark(html):
    assert 'name="viewport" content="width=device-width' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert "@media (max-width: 700px)" in html
