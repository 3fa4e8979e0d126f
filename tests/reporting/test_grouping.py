"""Settings are told apart by what matters, and only what can be compared stands together."""

from __future__ import annotations

from pathlib import Path

import pytest

from kan_exp.errors import KanExpError
from kan_exp.reporting.grouping import checked_keys, group_records, varying_choices
from kan_exp.runs.lenient_json import value_text
from kan_exp.runs.records import Record


def done(points="p", typed=(), **choices):
    choices = {name.replace("__", "."): value_text(value) for name, value in choices.items()}
    return Record(Path(), "done", choices, tuple(typed), True, test_points=points)


def failed(**choices):
    texts = {name: value_text(value) for name, value in choices.items()}
    return Record(Path(), "failed", texts, tuple(choices))


def named(parts):
    return [{name: len(records) for name, records in part.settings.items()} for part in parts]


def test_what_follows_from_another_choice_is_left_out():
    records = [
        done(layer="mlp", layer__hidden=8, dims=[2, 1], steps=10, lr=0.1),
        done(layer="interpo", layer__knots=9, dims=[2, 1], steps=20, lr=0.1),
        done(layer="interpo", layer__knots=9, dims=[2, 5, 1], steps=20, lr=0.1),
    ]
    assert varying_choices(records) == ["layer", "dims"]
    records.append(done(layer="interpo", layer__knots=99, dims=[2, 5, 1], steps=20, lr=0.1))
    assert varying_choices(records) == ["layer", "dims", "layer.knots"]


def test_what_was_typed_comes_first():
    records = [done(typed=["lr"], layer="mlp", lr=1), done(typed=["lr"], layer="x", lr=2)]
    assert varying_choices(records) == ["lr"]


def test_numbers_and_lists_are_the_same_however_they_are_written():
    records = [done(a=1.0, b=[2, 5]), done(a=1, b=[2, 5]), failed(a=1)]
    assert varying_choices(records) == []
    parts, unassigned = group_records(records, ["a", "b"])
    assert not unassigned
    assert named(parts) == [{("1", "[2,5]"): 3}]


def test_a_value_and_its_absence_differ_as_do_null_and_numbers():
    assert varying_choices([done(a=1), done()]) == ["a"]
    assert varying_choices([done(a=None), done(a=0)]) == ["a"]
    assert varying_choices([done(a=1), done(a=1)]) == []


def test_settings_on_other_test_points_stand_apart():
    records = [done(target=t, points=t, layer=n) for t in ("f", "g") for n in ("a", "b") * 2]
    parts, unassigned = group_records(records, varying_choices(records))
    assert not unassigned
    assert [part.constants for part in parts] == [{"target": "f"}, {"target": "g"}]
    assert [part.keys for part in parts] == [["layer"]] * 2
    assert named(parts) == [{("a",): 2, ("b",): 2}] * 2


def test_the_same_setting_on_two_sets_of_points_is_never_one():
    parts, _ = group_records([done(points="p"), done(points="q"), done(points=None)], [])
    assert [part.test_points for part in parts] == ["p", "q", None]


def test_a_run_without_a_result_counts_with_its_setting():
    records = [done(layer=n, dims=d) for n in "ab" for d in (1, 2)]
    records += [failed(layer="a", dims=1), failed(layer="b", dims=2)]
    parts, unassigned = group_records(records, varying_choices(records))
    assert not unassigned
    assert named(parts) == [{("a", "1"): 2, ("a", "2"): 1, ("b", "1"): 1, ("b", "2"): 2}]


def test_a_setting_that_never_finished_is_still_reported():
    records = [done(layer="a"), failed(layer="b"), failed(layer="b")]
    parts, unassigned = group_records(records, varying_choices(records))
    assert not unassigned
    assert named(parts) == [{("a",): 1, ("b",): 2}]


@pytest.mark.parametrize(
    "records",
    [
        [done(layer="a"), done(layer="b"), failed()],
        [done(points="f", layer="a"), done(points="g", layer="a"), failed(layer="a")],
        [done(points="f", layer="a"), done(points="g", layer="a"), failed(layer="b")],
    ],
)
def test_a_run_that_may_belong_anywhere_is_in_no_count(records):
    parts, unassigned = group_records(records, ["layer"])
    assert unassigned == records[-1:]
    assert all(count == 1 for one in named(parts) for count in one.values())


def test_a_run_without_a_result_goes_to_the_points_of_its_like():
    records = [done(points=t, target=t, layer="a") for t in ("f", "g")]
    records.append(failed(target="g", layer="a"))
    parts, unassigned = group_records(records, ["layer"])
    assert not unassigned
    assert named(parts) == [{(): 1}, {(): 2}]


def test_a_setting_that_never_finished_stands_with_the_points_of_its_data():
    records = [done(points=t, target=t, layer="a") for t in ("f", "g")]
    records.append(failed(target="g", layer="b"))
    parts, unassigned = group_records(records, ["target", "layer"])
    assert not unassigned
    assert named(parts) == [{(): 1}, {("a",): 1, ("b",): 1}]


def test_runs_can_be_grouped_by_less_than_what_differs():
    records = [done(layer="a", dims=d) for d in (1, 2)] + [failed(layer="a", dims=3)]
    parts, unassigned = group_records(records, ["layer"])
    assert not unassigned
    assert named(parts) == [{("a",): 3}]


def test_asked_choices_are_checked():
    records = [done(layer="a", layer__knots=1)]
    assert checked_keys(["layer", "layer"], records) == ["layer"]
    with pytest.raises(KanExpError, match=r"'layr'\. Did you mean 'layer'\? Choose from: layer"):
        checked_keys(["layr"], records)
    with pytest.raises(KanExpError, match="seed does not distinguish settings"):
        checked_keys(["seed"], records)
