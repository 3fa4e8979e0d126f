"""Which rows go where: at random, in order, by group, by class, from a file, in folds."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import polars as pl
import pytest
import torch

from kan_exp.data import Column, Schema, TableData
from kan_exp.data.classes import with_outputs
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.split_table import SplitTableData
from kan_exp.data.splitting import Splitter, cross_validation
from kan_exp.data.table import Table
from kan_exp.errors import KanExpError

FRACTIONS = [0.7, 0.15, 0.15]


def shuffled(rows: int, seed: int = 0):
    return np.random.default_rng(seed).permutation(rows)


def write(path, rows: int = 60, **columns):
    """A table whose column `n` is the number of its row."""
    values = {"n": np.arange(rows), "z": np.arange(rows) % 7, "y": np.arange(rows) ** 2, **columns}
    lines = [",".join(map(str, row)) for row in zip(*values.values(), strict=True)]
    path.write_text("\n".join([",".join(values), *lines]))
    return path


def data(path, **split) -> TableData:
    return TableData(str(path), "y", ["n", "z"], FRACTIONS, split.pop("seed", 0), ",", **split)


def of_classes(names) -> Table:
    schema = Schema((Column("n"),), (Column("c", kind="class"),))
    frame = pl.DataFrame({"n": np.arange(float(len(names))), "c": names})
    return with_outputs(Table("t.csv", schema, frame), True)


def numbers(part) -> list[int]:
    return part.x[:, 0].long().tolist()


def test_rows_are_drawn_by_the_seed_alone(tmp_path):
    path = write(tmp_path / "t.csv")
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3)).tolist()
    for found in (data(path, seed=3), data(path, seed=3, repeats=1)):
        parts = (found.train, found.val, found.test)
        assert [numbers(part) for part in parts] == [order[:42], order[42:51], order[51:]]


def test_the_last_rows_are_the_test_and_those_before_them_for_validation(tmp_path):
    found = data(write(tmp_path / "t.csv"), split="order", seed=5)
    parts = [numbers(part) for part in (found.train, found.val, found.test)]
    assert parts == [[*range(42)], [*range(42, 51)], [*range(51, 60)]]


def test_a_group_is_in_one_part(tmp_path):
    names = [f"patient {number}" for number in shuffled(60) % 11]
    found = data(write(tmp_path / "t.csv", g=names), group="g")
    parts = [{names[n] for n in numbers(part)} for part in (found.train, found.val, found.test)]
    assert sum(map(len, parts)) == 11 == len(set.union(*parts))
    assert len(found.train.x) >= 35  # of 42
    other = data(write(tmp_path / "t.csv", g=names), group="g", seed=2)
    assert {names[n] for n in numbers(other.test)} != parts[2]


def test_a_large_group_is_not_the_test():
    groups = np.r_[np.zeros(60, int), 1 + np.arange(40)]
    for seed in range(5):
        train, val, test = Splitter(groups).split(shuffled(100, seed), [70, 15, 15])
        assert {*groups[train]} >= {0}
        assert (len(train), len(val), len(test)) == (70, 15, 15)


def test_classes_have_the_same_proportions_in_each_part():
    classes = np.repeat([0, 1, 2], [100, 60, 20])[shuffled(180)]
    parts = Splitter(classes=classes).split(shuffled(180, 1), [126, 27, 27])
    assert [np.bincount(classes[part]).tolist() for part in parts] == [
        [70, 42, 14],
        [15, 9, 3],
        [15, 9, 3],
    ]
    for fold in Splitter(classes=classes).folds(shuffled(180, 1), 10):
        assert np.bincount(classes[fold]).tolist() == [10, 6, 2]


@pytest.mark.parametrize("kind", ["random", "stratified", "grouped"])
def test_every_row_is_tested_once_and_not_trained_on_then(kind):
    codes = shuffled(101) % 9
    options = {"stratified": {"classes": codes}, "grouped": {"groups": codes}}.get(kind, {})
    folds = list(cross_validation(Splitter(**options), shuffled(101, 1), 4, 0.2))
    assert sorted(np.concatenate([fold.test for fold in folds])) == list(range(101))
    for fold in folds:
        assert sorted(np.concatenate(fold)) == list(range(101))
        assert len(fold.test) in ((25, 26) if kind != "grouped" else range(15, 36))
        if kind == "grouped":
            train, val, test = ({*codes[rows]} for rows in fold)
            assert not train & test
            assert not val & (train | test)


def test_folds_in_order_are_trained_on_what_came_before():
    folds = list(cross_validation(Splitter(), np.arange(60), 3, 0.2, in_order=True))
    assert [fold.test.tolist() for fold in folds] == [
        [*range(15, 30)],
        [*range(30, 45)],
        [*range(45, 60)],
    ]
    assert [(len(fold.train), len(fold.val)) for fold in folds] == [(12, 3), (24, 6), (36, 9)]
    assert folds[1].val.tolist() == [*range(24, 30)]


def test_the_folds_of_a_table(tmp_path):
    found = data(write(tmp_path / "t.csv"), folds=4, repeats=2)
    assert found.num_folds == 8
    folds = [found.fold(number) for number in range(8)]
    tested = [numbers(fold.test) for fold in folds]
    for repeat in (tested[:4], tested[4:]):
        assert sorted(itertools.chain(*repeat)) == [*range(60)]
    assert tested[:4] != tested[4:]
    assert numbers(found.test) == [*range(60)]
    assert sorted(numbers(found.train) + numbers(found.val)) == [*range(60)]
    train = folds[0].train
    torch.testing.assert_close(folds[0].scaling.x_mean, train.x.mean(0))  # of its own rows


def test_test_rows_come_from_their_own_file(tmp_path):
    path, other = write(tmp_path / "t.csv"), tmp_path / "later.csv"
    other.write_text("y,n,z\n5,100,2\n6,101,3\n")
    found = data(path, test_path=str(other))
    assert numbers(found.test) == [100, 101]
    assert found.test.y[:, 0].tolist() == [5, 6]
    assert sorted(numbers(found.train) + numbers(found.val)) == [*range(60)]
    assert len(found.val.x) == round(60 * 0.15 / 0.85)


def test_weights_follow_their_rows(tmp_path):
    found = data(write(tmp_path / "t.csv", w=np.arange(60) / 2), weight="w")
    for part in (found.train, found.val, found.test):
        assert torch.equal(part.weight, part.x[:, 0] / 2)
    shares = found.train.weight / found.train.weight.sum()
    torch.testing.assert_close(found.scaling.x_mean, shares @ found.train.x)
    everything = TableData(
        str(tmp_path / "t.csv"), "y", None, FRACTIONS, 0, ",", weight="w", group="z"
    )
    assert everything.features == ("n",)  # neither weights nor groups are learned from


def test_a_column_that_varies_in_rows_of_weight_0_alone_keeps_its_size(tmp_path):
    path = write(tmp_path / "t.csv", z=np.arange(60) % 2, w=np.arange(60) % 2)
    found = data(path, weight="w")
    assert found.scaling.x_std[1] == 1
    assert found.scaling.standardize(found.train).x.isfinite().all()


def test_a_class_whose_training_rows_have_weight_0_is_refused():
    names = np.array(["no", "yes"])[(shuffled(60) < 12).astype(int)]
    table = dataclasses.replace(of_classes(names), weight=(names == "no").astype(float))
    with pytest.raises(KanExpError, match="has the class 'yes' in no training row: "):
        SplitTableData(table, SplitOptions(FRACTIONS, 0))


def test_classes_are_divided_in_proportion():
    names = np.array(["no", "yes"])[(shuffled(60) < 12).astype(int)]
    found = SplitTableData(of_classes(names), SplitOptions(FRACTIONS, 0))
    assert [int((part.y == 1).sum()) for part in (found.train, found.val, found.test)] == [8, 2, 2]


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ({"split": "time"}, "data.split must be random or order, got 'time'"),
        ({"folds": 1}, "data.folds must be a whole number of at least 2, got 1"),
        ({"repeats": 3}, "data.repeats=3 repeats a cross-validation: set data.folds=5"),
        ({"split": "order", "group": "z"}, "data.split=order does not go with data.group"),
        ({"folds": 3, "test_path": "t.csv"}, "data.test_path does not go with data.folds"),
        ({"folds": 3, "repeats": 2, "split": "order"}, "leave data.repeats out"),
        ({"group": "none"}, "has no column 'none', which data.group names"),
        ({"group": "one"}, "data.group=one has one value in all rows"),
        ({"group": "two"}, "data.group=two has 2 values in all rows, too few for every part"),
        ({"folds": 5, "group": "z", "repeats": 2}, None),
        ({"folds": 6, "group": "z"}, "too few for 6 folds and their validation"),
        ({"group": "large", "folds": 2}, "'large' leaves the training part of fold 1 7 rows"),
        ({"group": "gap"}, "data.group=gap has no value in row 5, line 6, one of 2"),
        ({"weight": "minus"}, "data.weight=minus has '-1' in row 4, line 5: weights must be"),
        ({"weight": "one"}, "data.weight=one is 0 in all rows"),
        ({"weight": "early", "split": "order"}, "data.weight='early' is 0 in all rows of the test"),
        ({"weight": "gap"}, "data.weight=gap has 'a' in row 1, line 2, one of 60"),
        ({"weight": "n"}, "column 'n' is data.weight, and also learned from"),
        ({"weight": "y"}, "column 'y' is data.target and data.weight: choose another data.weight"),
        ({"group": "y"}, "column 'y' is data.target and data.group: choose another data.group"),
        ({"drop": ["y"]}, "column 'y' is data.target and in data.drop"),
        ({"folds": 50}, None),
        ({"folds": 60}, None),
        ({"folds": 61}, "data.folds=61 has more folds than the table has rows"),
        ({"test_path": "other.csv"}, "other.csv: has no column 'z'"),
        ({"test_path": "gone.csv"}, "gone.csv: no such file in .*: set data.test_path=FILE"),
        ({"test_path": ["a", 1]}, r"\['a', 1\]: no such file in .*: set data.test_path=FILE"),
        ({"test_path": {"a": 1}}, r"\{'a': 1\}: no such file in .*: set data.test_path=FILE"),
    ],
    ids=str,
)
def test_what_cannot_be_split_is_one_line(tmp_path, monkeypatch, split, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.csv").write_text("y,n\n5,100\n")
    columns = {
        "one": [0] * 60,
        "two": [0, 1] * 30,
        "large": [0] * 50 + [1, 1, 1, 1, 2, 2, 2, 3, 3, 3],
        "gap": ["a"] * 4 + ["", "NA"] + ["a"] * 54,
        "minus": [1, 2, 3, -1] + [1] * 56,
        "early": [1] * 51 + [0] * 9,
    }
    path = write(tmp_path / "t.csv", **columns)
    if said is None:
        assert data(path, **split).num_folds
        return
    with pytest.raises(KanExpError, match=said) as error:
        data(path, **split)
    assert "\n" not in str(error.value)


ONE_LATE = ["a"] * 30 + ["b"] * 29 + ["c"]


@pytest.mark.parametrize(
    ("split", "more", "said"),
    [
        ({"folds": 5}, {}, "it has one row only: leave out its rows, or leave data.folds out"),
        ({"split": "order"}, {}, "its rows come late: set data.split=random, or leave them out"),
        ({}, {"weight": np.array([1.0] * 59 + [0])}, "its rows have the weight 0: leave them out"),
        ({}, {"test_rows": 1}, "its rows are all in data.test_path: leave them out"),
        (
            {"group": "g", "folds": 3},
            {"groups": np.arange(60) // 6},
            "it has rows of one 'g' only: leave out its rows, or leave data.folds out",
        ),
    ],
    ids=["folds", "order", "weight", "file", "groups"],
)
def test_a_class_that_no_training_row_has_is_one_line_with_what_helps(split, more, said):
    table = dataclasses.replace(of_classes(ONE_LATE), **more)
    with pytest.raises(KanExpError, match=r"column 'c' has the class 'c' in no training row") as e:
        SplitTableData(table, SplitOptions(FRACTIONS, 0, **split))
    assert str(e.value).endswith(f": {said}.")


def test_groups_in_both_files_are_told(tmp_path):
    path = write(tmp_path / "t.csv")
    other = write(tmp_path / "other.csv", 10, z=[5, 6, *[99] * 8])
    found = data(path, test_path=str(other), group="z")
    said = "2 of 10 test rows have a 'z' of data.path: the test error says less about new groups"
    assert any(line.startswith(said) for line in found.data_warnings)
    write(other, 10, z=[99] * 10)
    assert not any(
        "new groups" in one for one in data(path, test_path=str(other), group="z").data_warnings
    )


def test_rows_are_named_as_their_files_count_them(tmp_path):
    gaps = ["" if k == 2 else k for k in range(60)]
    path = write(tmp_path / "t.csv", z=gaps)
    other = write(tmp_path / "other.csv", 70, z=["", *[k % 7 for k in range(69)]])
    table = data(path, test_path=str(other), missing="drop").table
    assert table.row_name(1) == f"row 2 of {path}"
    assert table.row_name(2) == f"row 4 of {path}"
    assert table.row_name(59) == "row 2 of data.test_path"
    assert table.rows == 59 + 69


def test_options_are_checked_without_a_table():
    with pytest.raises(KanExpError, match=r"^data.fractions must be three positive numbers"):
        SplitOptions([0.5, 0.5], 0)
