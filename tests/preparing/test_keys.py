"""A run on a table is recognised by the content of the table, wherever it lies."""

from __future__ import annotations

import pytest

from kan_exp.preparing.keys import run_key, setting_key
from tests.preparing.test_stored_config import composed

TABLE = ["data=table", "data.target=y", "dims=[1,1]"]


@pytest.fixture
def keys(tmp_path):
    def of(name):
        cfg, _ = composed("train", *TABLE, f"data.path='{tmp_path / name}'")
        return run_key(cfg), setting_key(cfg)

    return of


def test_a_table_that_has_moved_is_the_same(keys, tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    before = keys("a.csv")
    (tmp_path / "a.csv").rename(tmp_path / "b c.csv")
    assert keys("b c.csv") == before
    assert keys("a.csv") != before  # nothing is there any more


def test_a_table_that_has_changed_in_its_place_is_another(keys, tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    before = keys("a.csv")
    (tmp_path / "a.csv").write_text("x,y\n1,3,\n")
    assert keys("a.csv")[0] != before[0]
    assert keys("a.csv")[1] != before[1]


def test_tables_that_are_not_there_are_reported_apart_by_their_paths(keys):
    assert keys("a.csv") == keys("a.csv") != keys("b.csv")
