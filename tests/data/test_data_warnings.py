"""A table that may mislead is used, with a warning."""

import numpy as np
import torch

from kan_exp.data import TableData
from kan_exp.data.split_table import far_values, repeated_rows


def table(folder, x, y) -> TableData:
    path = folder / "t.csv"
    lines = [f"{a!r},{b!r}" for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    path.write_text("\n".join(["a,y", *lines]))
    return TableData(str(path), "y", None, [0.7, 0.15, 0.15], 0, ",")


def test_an_ordinary_table_has_no_warnings(tmp_path):
    draw = np.random.default_rng(0)
    x = draw.standard_t(2, 300)  # heavy tails are ordinary
    assert table(tmp_path, x, np.sin(x)).data_warnings == []


def test_a_value_far_from_all_others_is_named_with_its_row(tmp_path):
    x = np.linspace(-1, 1, 100)
    y = x**2
    y[41] = 1e12
    (line,) = table(tmp_path, x, y).data_warnings
    assert "column 'y' has 1e+12 in row 42," in line
    y[41], x[7] = 0.1, -1e9
    (line,) = table(tmp_path, x, y).data_warnings
    assert "column 'a' has -1e+09 in row 8," in line


def test_test_rows_that_are_training_rows_are_counted(tmp_path):
    x = np.repeat(np.linspace(-1, 1, 20), 10)
    data = table(tmp_path, x, np.sin(x))
    train = {row.item() for row in data.train.x}
    count = sum(row.item() in train for row in data.test.x)
    assert count > 20
    (line,) = data.data_warnings
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
    (line,) = far_values(["a"], values)
    assert "has 1e+06 in row 1 (one of 20 so far out), " in line
    assert line.endswith("these decide the scale.")


def test_a_column_that_is_mostly_one_value_has_no_far_values():
    values = np.zeros((50, 1))
    values[3] = 1e6  # a rare event, not a slip: there is no spread to compare it with
    assert far_values(["a"], values) == []
