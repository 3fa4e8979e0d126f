"""A sweep over values of any text: its table, its CSV and its failures."""

from __future__ import annotations

import csv
import io

import pytest
from rich.console import Console

from kan_exp.sweeps.jobs import Job
from kan_exp.sweeps.outcomes import Outcome
from kan_exp.sweeps.summary import failures, print_table, write_summary

VALUES = ["[bold]", "[/]", "[red]x[/red]", ":smile:", "$x$", "温度", "a|b", "\x1b[31m", "a\nb\r"]


def outcome(number: int, value: str, state: str = "done") -> Outcome:
    job = Job(number, (f"data.target={value}",), str(number), f"data.target={value}")
    metrics = {"test_rmse": 0.1 + number} if state == "done" else {}
    reason = None if state == "done" else f"no column {value}"
    return Outcome(job, state, reason, f"{number}_x", None, 1, 1.0, metrics)


def shown(value: str) -> str:
    return value.replace("\x1b", "\\x1b").replace("\n", "\\n").replace("\r", "\\r")


@pytest.mark.parametrize("value", VALUES)
def test_values_are_shown_as_they_are(value, tmp_path):
    found = [outcome(0, "plain"), outcome(1, value)]
    console = Console(file=io.StringIO(), width=80)
    print_table(console, "test_rmse", found)
    _, heading, first, second = console.file.getvalue().splitlines()
    assert heading.split()[1] == "data.target"
    assert first.split() == ["0", "plain", "0.1", "1.0"]
    assert second.split() == ["1", shown(value), "1.1", "1.0"]
    write_summary(tmp_path, [], "test_rmse", found)
    with (tmp_path / "sweep.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["data.target"] for row in rows] == ["plain", shown(value)]
    (line,) = failures([outcome(2, value, "failed")])
    assert line == f"  job 2 (data.target={shown(value)}): no column {shown(value)}"


def test_bytes_that_are_no_utf8_can_be_written(tmp_path):
    write_summary(tmp_path, ["x=\udcff"], "test_rmse", [outcome(0, "\udcff")])
    assert "\\udcff" in (tmp_path / "sweep.csv").read_text(encoding="utf-8")
