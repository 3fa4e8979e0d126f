"""JSON of a run's folder, which anyone may have edited."""

import pytest

from kan_exp.reporting.curves import read_curves
from kan_exp.runs import read_status
from kan_exp.runs.files import parse_json
from kan_exp.runs.records import read_records
from kan_exp.runs.results import read_metrics

DEEP = "[" * 100_000


@pytest.mark.parametrize("text", [DEEP, '{"a":' * 50_000, b"\xff", "", "9" * 5000])
def test_what_is_no_json_is_one_kind_of_error(text):
    with pytest.raises(ValueError):  # noqa: PT011 - of many messages
        parse_json(text)


def test_deep_files_are_unreadable_and_nothing_else(tmp_path):
    for name in ("metrics.json", "status.json", "history.json"):
        (tmp_path / name).write_text(DEEP)
    assert read_metrics(tmp_path) == {}
    assert read_status(tmp_path) is None
    found = read_records([str(tmp_path)])
    assert any("nests too deeply" in line for line in found.unreadable)
    read_curves(list(found.records))
