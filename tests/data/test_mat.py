"""Arrays of MATLAB files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.sparse import csr_matrix

from kan_exp.data import MatData
from kan_exp.errors import KanExpError
from kan_exp.train import prepare
from tests.conftest import read_metrics

DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(60, 2))
Y = X[:, :1] ** 2 - X[:, 1:]
FRACTIONS = (0.7, 0.15, 0.15)


@pytest.fixture
def path(tmp_path):
    content = {
        "X": X,
        "y": Y,
        "row": Y.T,
        "S": csr_matrix(X * (X > 0)),
        "n": np.arange(60)[:, None],
    }
    content |= {"short": Y[:5], "text": "abc", "cell": np.array([["a", 1]], dtype=object)}
    content |= {"holes": np.where(X > 2, np.nan, X), "z": X + 1j, "cube": np.zeros((2, 2, 2))}
    savemat(tmp_path / "t.mat", content)
    return tmp_path / "t.mat"


def rows(data: MatData) -> np.ndarray:
    """All rows with inputs and output, in an order that does not depend on the split."""
    parts = [torch.cat([part.x, part.y], 1).numpy() for part in (data.train, data.val, data.test)]
    every = np.concatenate(parts)
    return every[np.lexsort(every.T)]


@pytest.mark.parametrize("target", ["y", "row"])
def test_rows_are_those_of_the_arrays(path, target):
    data = MatData(path, "X", target, FRACTIONS, 0)
    expected = np.concatenate([X, Y], 1)
    np.testing.assert_array_equal(rows(data), expected[np.lexsort(expected.T)])
    assert data.features == ("X1", "X2")
    assert data.target_name == target
    assert "60 rows, 2 features -> " in data.summary


def test_sparse_arrays_and_whole_numbers_are_read(path):
    data = MatData(path, "S", "n", FRACTIONS, 0)
    expected = np.concatenate([X * (X > 0), np.arange(60.0)[:, None]], 1)
    np.testing.assert_array_equal(rows(data), expected[np.lexsort(expected.T)])


@pytest.mark.parametrize(
    ("inputs", "target", "fragment"),
    [
        ("x", "y", "there is no array 'x' (data.inputs). Did you mean 'X'?"),
        ("X", "q", "there is no array 'q' (data.target). It has: X, S,"),
        ("X", "short", "X has 60 rows and short 5"),
        ("X", "X", "data.target=X must be one column, got 60x2"),
        ("text", "y", "text must be a matrix of real numbers"),
        ("cell", "y", "cell must be a matrix of real numbers, got 1x2 of object"),
        ("z", "y", "z must be a matrix of real numbers, got 60x2 of complex128"),
        ("cube", "y", "cube must be a matrix of real numbers, got 2x2x2"),
        ("holes", "y", "is nan: remove such rows."),
    ],
)
def test_other_arrays_are_refused(path, inputs, target, fragment):
    with pytest.raises(KanExpError) as caught:
        MatData(path, inputs, target, FRACTIONS, 0)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert fragment.split(" It has")[0] in message
    assert message.isprintable()


def test_other_files_are_refused(path, tmp_path):
    (tmp_path / "a.mat").write_text("no such thing")
    (tmp_path / "h.mat").write_bytes(
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\0" * 384
    )
    (tmp_path / "cut.mat").write_bytes(path.read_bytes()[:900])
    for name, fragment in (
        ("a.mat", "not a .mat file"),
        ("h.mat", "save it again with save"),
        ("cut.mat", "not a .mat file"),
        ("none.mat", "no such file"),
    ):
        with pytest.raises(KanExpError, match=fragment) as caught:
            MatData(tmp_path / name, "X", "y", FRACTIONS, 0)
        assert str(caught.value).isprintable()


def test_a_run_on_it_is_evaluated_on_its_test_points(path, tmp_path, command):
    given = ["data=mat", f"data.path={path}", "data.inputs=X", "data.target=y", "dims=[2,1]"]
    given += ["layer=spline", "logger=none", "~callbacks.figures"]
    done = command("train", *given, "hydra.run.dir=r")
    assert done.returncode == 0, done.stderr
    assert read_metrics(tmp_path / "r")["test_r2"] > 0.99
    again = command("evaluate", "run=r")
    assert again.returncode == 0, again.stderr
    assert "RMSE" in again.stdout


def test_the_configuration_makes_it(path, tmp_path):
    given = [f"data.path={path}", "data.inputs=X", "data.target=y", "dims=[2,1]", "logger=none"]
    assert isinstance(prepare(["data=mat", *given], tmp_path / "r").data, MatData)
