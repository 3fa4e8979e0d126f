"""Outputs that are classes."""

from __future__ import annotations

import polars as pl
import pytest

from kan_exp.data import TableData
from kan_exp.data.classes import note_on_classes, sorted_levels
from kan_exp.data.fields import level_names
from kan_exp.errors import KanExpError

FRACTIONS = [0.7, 0.15, 0.15]


def written(tmp_path, values, name="t.csv"):
    frame = pl.DataFrame({"a": [k * 0.37 % 1 for k in range(len(values))], "y": values})
    path = tmp_path / name
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)
    return path


def data(path, classes=None, target="y", **options):
    return TableData(path, target, ["a"], FRACTIONS, 0, ",", classes=classes, **options)


RECOGNIZED = {
    "text": (["b", "c", "a"] * 20, ("a", "b", "c")),
    "yes": (["yes", "no"] * 30, ("no", "yes")),
    "true": ([True, False] * 30, ("false", "true")),
    "few": ([7, 10, 9] * 20, ("7", "9", "10")),
    "signs": ([-1, 1] * 30, ("-1", "1")),
    "floats": ([0.0, 1.0] * 30, ("0", "1")),
    "eleven": (list(range(11)) * 10, ()),
    "rare": (list(range(10)) * 4, ()),
    "halves": ([0.5, 1.0, 1.5] * 20, ()),
}


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize(("values", "levels"), RECOGNIZED.values(), ids=RECOGNIZED)
def test_classes_are_recognized(tmp_path, values, levels, suffix):
    found = data(written(tmp_path, values, f"t{suffix}"))
    assert found.schema.classes == levels
    if levels:
        named = [levels[int(k)] for k in found.table.y[:, 0]]
        assert named == [str(v).lower() if v in (True, False) and isinstance(v, bool) else
                         str(int(v)) if not isinstance(v, str) else v for v in values]  # fmt: skip


def test_the_task_decides_otherwise(tmp_path):
    numbers = data(written(tmp_path, [7, 10, 9] * 20), classes=False)
    assert numbers.schema.classes == ()
    assert {*numbers.table.y[:, 0]} == {7, 9, 10}
    yes = data(written(tmp_path, ["Yes", "no"] * 30), classes=False)
    assert yes.table.y[:2, 0].tolist() == [1, 0]
    assert any("yes is 1, no is 0" in line for line in yes.data_warnings)
    halves = data(written(tmp_path, [0.5, 1.0, 1.5] * 20), classes=True)
    assert halves.schema.classes == ("0.5", "1", "1.5")


@pytest.mark.parametrize(
    ("values", "classes", "said"),
    [
        (["x"] * 60, None, "column 'y' has one class only, 'x'"),
        (["x", "y"] * 30, False, "the target 'y' is text, such as 'x': set task=class"),
        ([k * 0.1 for k in range(60)], True, "60 different numbers in 60 rows.* set task=regres"),
        ([f"name {k}" for k in range(60)], None, "mostly different texts in the target column 'y'"),
        (["x", "y", None] * 20, None, "missing cells in the target column 'y' .*row 3"),
        (
            ["x"] * 59 + ["y"],
            None,
            "has the class 'y' in no training row",
        ),
    ],
)
def test_what_can_be_no_class_is_told(tmp_path, values, classes, said):
    with pytest.raises(KanExpError, match=said) as caught:
        data(written(tmp_path, values), classes=classes, split="order")
    assert "\n" not in str(caught.value)


def test_several_targets_are_numbers(tmp_path):
    frame = pl.DataFrame({"a": range(60), "u": [1, 2] * 30, "v": ["x", "y"] * 30, "w": range(60)})
    frame.write_csv(tmp_path / "t.csv")
    found = data(tmp_path / "t.csv", target=["u", "w"])
    assert found.schema.targets == ("u", "w")
    assert found.train.y.shape[1] == 2
    for target, classes, said in [
        (["u", "v"], None, "several targets .* 'v' is text, .* set data.target to one of them$"),
        (["u", "w"], True, "task=classification takes one target, got 2"),
        (["u", "u"], None, "data.target names 'u' twice"),
        ([], None, r"data.target must be a column or a list of columns, got \[\]"),
    ]:
        with pytest.raises(KanExpError, match=said):
            data(tmp_path / "t.csv", classes=classes, target=target)


def test_a_number_has_one_name_however_it_is_written():
    for fields in (
        pl.Series(["1", " 2.0", "-3e0"]),
        pl.Series([1, 2, -3]),
        pl.Series([1.0, 2, -3]),
    ):
        assert level_names(fields).to_list() == ["1", "2", "-3"]
    assert level_names(pl.Series([" a", "NA", None])).to_list() == ["a", None, None]
    assert sorted_levels(["10", "9", "9"]) == ("9", "10")
    assert sorted_levels(["10", "9", "x"]) == ("10", "9", "x")


def test_the_note_names_the_other_task_where_it_is_possible(tmp_path):
    numbers = data(written(tmp_path, [0, 1] * 30)).schema
    assert note_on_classes(numbers) == (
        "target 'y' has 2 classes ('0', '1'): task=classification; "
        "task=regression treats them as numbers"
    )
    words = data(written(tmp_path, ["a", "b"] * 30)).schema
    assert note_on_classes(words) == "target 'y' has 2 classes ('a', 'b'): task=classification"


def test_a_target_with_a_scale_is_a_number(tmp_path):
    found = data(written(tmp_path, [1, 2, 4] * 20), scale={"y": "log"})
    assert found.schema.classes == ()


@pytest.mark.parametrize("classes", [None, True, False])
def test_dates_are_no_target(tmp_path, classes):
    path = written(tmp_path, [f"2020-01-{day:02}" for day in range(1, 31)] * 2)
    with pytest.raises(KanExpError, match="column 'y' holds dates, which cannot be predicted"):
        data(path, classes)
