"""The sets that ship with scikit-learn, compared with scikit-learn's own arrays."""

import sys

import numpy as np
import pytest
import torch
from sklearn import datasets

from kan_exp.data import SklearnData
from kan_exp.errors import KanExpError

FRACTIONS = [0.7, 0.15, 0.15]


def rows_of(data: SklearnData) -> np.ndarray:
    x, y, _ = data.table.split()
    return torch.cat([x, y], dim=1).numpy()


def test_diabetes_is_scikit_learns_own_in_raw_units():
    raw = datasets.load_diabetes(scaled=False)
    data = SklearnData("diabetes", FRACTIONS, seed=0)
    assert data.features == tuple(raw.feature_names)
    np.testing.assert_array_equal(rows_of(data), np.column_stack([raw.data, raw.target]))
    assert data.summary == (
        "scikit-learn's diabetes: 442 rows, 10 features -> progression; "
        "310 train, 66 validation, 66 test"
    )


@pytest.mark.parametrize(("name", "output", "others"), [("iris", 3, 3), ("wine", 0, 12)])
def test_a_measured_column_takes_the_place_of_the_class(name, output, others):
    raw = getattr(datasets, f"load_{name}")()
    data = SklearnData(name, FRACTIONS, seed=0, target=raw.feature_names[output])
    order = [k for k in range(others + 1) if k != output] + [output]
    np.testing.assert_array_equal(rows_of(data), raw.data[:, order])
    assert [*data.features, data.target_name] == [raw.feature_names[k] for k in order]


@pytest.mark.parametrize("name", ["iris", "breast_cancer"])
def test_classes_are_scikit_learns_by_name(name):
    raw = getattr(datasets, f"load_{name}")()
    data = SklearnData(name, FRACTIONS, seed=0)
    np.testing.assert_array_equal(rows_of(data)[:, :-1], raw.data)
    assert {type(name) for name in (*data.features, *data.schema.classes)} == {str}
    found = np.array(data.schema.classes)[rows_of(data)[:, -1].astype(int)]
    np.testing.assert_array_equal(found, raw.target_names[raw.target])


def test_seed_decides_the_rows():
    first, again = (SklearnData("wine", FRACTIONS, seed=4) for _ in range(2))
    other = SklearnData("wine", FRACTIONS, seed=5)
    assert torch.equal(first.train.x, again.train.x)
    assert not torch.equal(first.train.x, other.train.x)


def test_unknown_name_gets_a_suggestion():
    with pytest.raises(KanExpError, match=r"got 'diabets'\. Did you mean 'diabetes'\?"):
        SklearnData("diabets", FRACTIONS, seed=0)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(KanExpError, match=r"pip install scikit-learn"):
        SklearnData("iris", FRACTIONS, seed=0)
