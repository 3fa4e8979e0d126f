"""A table that may mislead is used, with a warning."""

import numpy as np
import torch

from kan_exp.data import Column, Schema, Split, TableData
from kan_exp.data.data_warnings import far_values, repeated_rows, same_as_target


def table(folder, x, y) -> TableData:
    path = folder / "t.csv"
    lines = [f"{a!r},{b!r}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    path.write_text("\n".join(["a,y", *lines]))
    return TableData(str(path), "y", None, [0.7, 0.15, 0.15], 0, ",")


def warnings(data: TableData) -> list[str]:
    """All but the one about few test rows."""
    return [line for line in data.data_warnings if "few to measure" not in line]


def test_an_ordinary_table_has_no_warnings(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.standard_t(2, 400)  # heavy tails are ordinary
    assert table(tmp_path, x, np.sin(x)).data_warnings == []


def test_a_value_far_from_all_others_is_named_with_its_row(tmp_path):
    x = np.linspace(-1, 1, 100)
    y = x**2
    y[41] = 1e12
    (line,) = warnings(table(tmp_path, x, y))
    assert "column 'y' has 1e+12 in row 42 of " in line
    y[41], x[7] = 0.1, -1e9
    (line,) = warnings(table(tmp_path, x, y))
    assert "column 'a' has -1e+09 in row 8 of " in line


def test_test_rows_that_are_training_rows_are_counted(tmp_path):
    x = np.repeat(np.linspace(-1, 1, 20), 10)
    data = table(tmp_path, x, np.sin(x))
    train = {row.item() for row in data.train.x}
    count = sum(row.item() in train for row in data.test.x)
    assert count > 20
    (line,) = warnings(data)
    assert line.startswith(f"{count} of 30 test rows have the inputs of a training row")


def test_one_input_in_common_makes_no_repeated_row():
    train, test = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 4.0], [3.0, 4.0]])
    assert repeated_rows(train, test[:1]) == []
    assert repeated_rows(train, test)[0].startswith("1 of 2 test rows")


def test_zero_has_no_sign_among_inputs():
    assert repeated_rows(torch.tensor([[0.0, 1.0]]), torch.tensor([[-0.0, 1.0]])) != []


def test_values_far_from_most_but_not_from_each_other_are_counted():
    values = np.linspace(-1, 1, 100)[:, None]
    values[::5] = 1e6
    (line,) = far_values(["a"], values, "row {}".format)
    assert "has 1e+06 in row 0 (one of 20 so far out), " in line
    assert line.endswith("these decide the scale.")


def test_a_column_that_is_mostly_one_value_has_no_far_values():
    values = np.zeros((50, 1))
    values[3] = 1e6  # a rare event, not a slip: there is no spread to compare it with
    assert far_values(["a"], values, "row {}".format) == []


def test_few_test_rows_are_told(tmp_path):
    x = np.linspace(-1, 1, 100)
    assert table(tmp_path, x, x**2).data_warnings == [
        "15 test rows are few to measure an error by: data.folds=5 tests every row in turn."
    ]
    data = TableData(str(tmp_path / "t.csv"), "y", None, [0.7, 0.15, 0.15], 0, ",", folds=5)
    assert data.data_warnings == []


def of(schema: Schema, x, y) -> list[str]:
    return same_as_target(schema, Split(torch.as_tensor(x), torch.as_tensor(y)))


def test_the_target_under_another_name_is_told():
    draw = np.random.default_rng(0)
    y = draw.normal(size=(400, 1))
    far, near = (y * -3 + 7 + noise * draw.normal(size=y.shape) for noise in (0.3, 0.03))
    schema = Schema.of_numbers(["far", "near cents", "one"], ["y"])
    x = np.column_stack([far, near, np.ones(400)])
    assert abs(np.corrcoef(near.T, y.T)[0, 1]) > 0.999 > abs(np.corrcoef(far.T, y.T)[0, 1])
    (line,) = of(schema, x, y)
    assert line.startswith("column 'near cents' has a correlation beyond 0.999 with the target 'y'")
    assert line.endswith("leave it out: 'data.drop=[\"near cents\"]'")
    assert of(Schema.of_numbers(["far"], ["y"]), far, y) == []


def test_a_column_that_says_one_of_two_classes_is_told():
    levels = np.tile([0.0, 1.0], 20)
    column = Column("sick", "category", levels=("no", "yes"))
    schema = Schema((Column("a"), column), (Column("c", "class", levels=("no", "yes")),))
    x = np.column_stack([np.arange(40.0), 1 - levels])
    (line,) = of(schema, x, levels[:, None])
    assert "column 'sick' " in line
