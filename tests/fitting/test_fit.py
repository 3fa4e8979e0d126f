"""`kan_exp.fit` and the model that it and `kan_exp.load` return."""

from __future__ import annotations

import base64
import copy
import os
import pickle
import signal
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import coo_array

import kan_exp
from kan_exp.errors import KanExpError
from kan_exp.fitting.model import FittedModel
from kan_exp.fitting.training import fit
from kan_exp.tasks.activations import ACTIVATIONS
from kan_exp.train import prepare

PLAIN = {"dims": ["auto", "auto"], "progress": False}


def rows(count: int = 100) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    X = generator.normal(size=(count, 3))
    return X, np.sin(2 * X[:, 0]) + X[:, 1] + 0.1 * generator.normal(size=count)


@pytest.fixture(scope="module")
def model() -> FittedModel:
    return fit(*rows(), **PLAIN)


def test_one_call_trains_and_writes_nothing(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    X, y = rows()
    again = kan_exp.fit(X, y, **PLAIN)
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(again.predict(X), model.predict(X))
    predicted = model.predict(X).numpy()[:, 0]
    r2 = 1 - np.mean((predicted - y) ** 2) / np.var(y)
    assert model.score(X, y) == pytest.approx(r2)
    assert r2 > 0.98


@pytest.mark.parametrize(
    "make",
    [
        lambda X, y: (X.tolist(), y.tolist()),
        lambda X, y: (torch.tensor(X), torch.tensor(y)),
        lambda X, y: (pd.DataFrame(X, columns=["x0", "x1", "x2"]), pd.Series(y, name="y")),
        lambda X, y: (pl.DataFrame(X, schema=["x0", "x1", "x2"]), pl.Series("y", y)),
        lambda X, y: (dict(zip(["x0", "x1", "x2"], X.T, strict=True)), y[:, None]),
    ],
    ids=["lists", "tensors", "pandas", "polars", "mapping"],
)
def test_rows_of_any_container_are_the_same_training(model, make):
    X, y = rows()
    given, target = make(X, y)
    trained = fit(given, target, **PLAIN)
    assert torch.equal(trained.predict(given), model.predict(X))
    assert trained.score(given, target) == pytest.approx(model.score(X, y))
    assert (trained.features, trained.target_name) == (("x0", "x1", "x2"), "y")


def test_the_order_of_rows_does_not_matter(model):
    X, y = rows()
    assert torch.equal(fit(X[::-1], y[::-1], **PLAIN).predict(X), model.predict(X))


def test_text_and_few_whole_numbers_are_classes():
    X, y = rows()
    frame = pd.DataFrame({"a": X[:, 0], "b  b": X[:, 1], "kind": ["u", "v"] * 50})
    names = pd.Series(np.where(y > 0, "up", "down"), name="way")
    trained = fit(frame, names, **PLAIN)
    assert trained.classes == ("down", "up")
    assert trained.target_name == "way"
    assert trained.features == ("a", "b b", "kind=v")
    assert trained.score(frame, names) == np.mean(trained.predict_class(frame) == names)
    assert trained.score(frame, names) > 0.9
    assert fit(X, (y > 0).astype(int), **PLAIN).classes == ("0", "1")
    assert fit(X, (y > 0).astype(int), task="regression", **PLAIN).classes == ()


def test_options_are_those_of_the_configs():
    X, y = rows(60)
    trained = fit(X, y, layer="interpo", layer__num_x=9, **PLAIN)
    assert trained.edge_layers[0].knots.shape[-1] == 9
    assert "interpo" in trained.description["layers"][0]["kind"].lower()
    trained = fit(X, y, dims=[3, 2, 1], optimizer="adam", steps=20, progress=False)
    assert trained.description["steps"] == 20
    assert trained.description["dims"] == [3, 2, 1]
    (edges,) = fit(X, y, layers=["interpo"], **PLAIN).description["layers"]
    assert edges["kind"] == "kan_exp.layers.KANInterpoLayer"
    assert fit(X, y, dims="auto", progress=False).description["dims"][0] == 3


def test_edges_are_a_tidy_table_of_what_they_do(model):
    table = model.edges()
    assert table.columns == ["layer", "input", "output", "importance", "x", "y"]
    X, _ = rows()
    total = model.predict(X[:5])[:, 0].double().numpy() - float(model.y_mean)
    for name, column in zip(model.features, X[:5].T, strict=True):
        curve = table.filter(pl.col("input") == name)
        total -= np.interp(column, curve["x"].to_numpy(), curve["y"].to_numpy())
    np.testing.assert_allclose(total, 0, atol=1e-3)
    by_input = dict(table.group_by("input").agg(pl.col("importance").first()).iter_rows())
    assert by_input["x1"] > by_input["x0"] > 10 * by_input["x2"]


def test_notebooks_show_the_network(model):
    html = model._repr_html_()
    assert "x0, x1, x2 → y" in html
    start = html.index("base64,") + len("base64,")
    assert base64.b64decode(html[start : html.index('"', start)]).startswith(b"\x89PNG")
    assert model.plot().axes == model.plot(rows()[0]).axes == []
    named = fit(pd.DataFrame({"<b>": [*range(20)]}), [2.0 * k for k in range(20)], **PLAIN)
    assert "<b>" not in named._repr_html_()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_copy_is_the_same(model, copied, activation):
    X, _ = rows()
    model = FittedModel.of({**model.checkpoint(), "activation": activation})
    assert torch.equal(copied(model).predict(X), model.predict(X))


def test_a_saved_model_is_the_same(model, tmp_path):
    X, _ = rows()
    assert model.save(tmp_path / "model") == tmp_path / "model"
    model.save(tmp_path / "model")  # again
    again = kan_exp.load(tmp_path / "model")
    assert torch.equal(again.predict(X), model.predict(X))
    assert again.edges().equals(model.edges())
    np.testing.assert_array_equal(again.predict_interval(X), model.predict_interval(X))
    (tmp_path / "model" / "metrics.json").write_text("{}")
    with pytest.raises(KanExpError, match="has the results of a run: save the model elsewhere"):
        model.save(tmp_path / "model")


def test_a_model_of_a_run_does_the_same(tmp_path):
    options = ["layer=spline", "dims=[2,1]", "optimizer=adam", "steps=50", "points=60"]
    options += ["data.num_val=20", "data.num_test=20", "logger=none", "~callbacks"]
    experiment = prepare(options, tmp_path / "run")
    experiment.run()
    trained = kan_exp.load(tmp_path / "run")
    assert isinstance(trained, FittedModel)
    assert trained.edges()["layer"].unique().to_list() == [1]
    assert "x, y → f" in trained._repr_html_()
    assert trained.predict({"x": [0.1], "y": [0.2]}).shape == (1, 1)
    with pytest.raises(KanExpError, match=r"x of shape \(n, 2\) \(x, y\), got \(1, 3\)"):
        trained.predict(np.zeros((1, 3)))
    val = experiment.data.val  # of the 20 errors there, 19 are at or below the margin
    margin = (val.y - trained.predict(val.x)).abs().flatten().sort().values[18]
    (low, high), predicted = (
        trained.predict_interval([[0.1, 0.2]])[0, 0],
        trained.predict([[0.1, 0.2]]),
    )
    assert high - low == pytest.approx(2 * float(margin))
    assert (low + high) / 2 == pytest.approx(float(predicted))


def test_a_formula_of_the_model():
    X, _ = rows()
    trained = fit(X, 2 * X[:, 0] + 3, **PLAIN)
    assert str(trained.explain(seconds=5).formula).startswith(("2*x0 + 3", "2.00"))


def test_ctrl_c_keeps_the_best_so_far(monkeypatch):
    from kan_exp.training.callbacks import ProgressLine

    def press(self, *_):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(ProgressLine, "on_train_batch_end", press)
    before = signal.getsignal(signal.SIGINT)
    with pytest.warns(UserWarning, match="interrupted: this is the best network so far"):
        trained = kan_exp.fit(*rows(), optimizer="adam", steps=10**6)
    assert 0 < trained.description["steps"] < 10**6
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("where", ["terminal", "notebook", "file"])
def test_progress_is_shown_where_somebody_looks(monkeypatch, capsys, where):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: where == "notebook")
    monkeypatch.setenv("TTY_COMPATIBLE", "1" if where == "terminal" else "0")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kan_exp.fit(*rows(40), dims=["auto", "auto"])
    shown = capsys.readouterr().err
    assert ("training" in shown) == (where != "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y: ((X, y[:5]), {}), "X has 100 rows, but y has 5."),
        (lambda X, y: ((X[None], y), {}), r"x must be an array of rows and columns, got the shape"),
        (lambda X, y: ((coo_array(X), y), {}), "x is a sparse matrix, which its toarray"),
        (lambda X, y: (([], []), {}), "x must be an array of rows and columns"),
        (lambda X, y: ((X, y), {"layr": "spline"}), "Did you mean 'layer'"),
        (lambda X, y: ((X, y), {"layer": "mlp", "layers": ["mlp"]}), "layer=mlp has no effect"),
        (lambda X, y: ((X, y), {"weight": -(y**2)}), "weight must be finite numbers of at least 0"),
        (lambda X, y: ((X, y), {"weight": [1]}), "X has 100 rows, but weight has 1 number"),
        (lambda X, y: ((X, y), {"missing": "fill"}), "missing must be error or impute or drop"),
        (lambda X, y: ((_with(X, 7, np.nan), y), {}), r"column 'x1' \(row 8\)"),
        (lambda X, y: ((_with(X, 7, np.inf), y), {}), r"column 'x1' \(inf in row 8\)"),
        (lambda X, y: ((np.ones_like(X), y), {}), "no column but the target varies"),
        (
            lambda X, y: ((pd.DataFrame(X, columns=["a", "a", "b"]), y), {}),
            "two columns are called 'a'",
        ),
    ],
)
def test_wrong_input_is_one_line(change, message):
    arguments, options = change(*rows())
    with pytest.raises(KanExpError, match=message) as error:
        kan_exp.fit(*arguments, progress=False, **options)
    assert "\n" not in str(error.value)


def _with(X: np.ndarray, row: int, value: float) -> np.ndarray:
    X = X.copy()
    X[row, 1] = value
    return X


def test_models_refuse_what_they_were_not_trained_on(model):
    X, y = rows()
    for wrong in (X[:, :2], X[None], X[0, :2]):
        with pytest.raises(KanExpError, match=r"takes x of shape \(n, 3\) \(x0, x1, x2\), got"):
            model.predict(wrong)
    with pytest.raises(KanExpError, match="model takes numbers for x"):
        model.predict([["a", "b", "c"]])
    with pytest.raises(KanExpError, match="a sparse matrix, which its toarray"):
        model.predict(coo_array(X))
    with pytest.raises(KanExpError, match="X has 100 rows, but y has 3"):
        model.score(X, y[:3])
    with pytest.raises(KanExpError, match="coverage must be between 0 and 1"):
        model.predict_interval(X, 90)


def test_a_target_of_gaps_alone_is_not_to_be_imputed():
    with pytest.raises(KanExpError, match=r"\(60, first in row 1\): fill in missing cells\.$"):
        kan_exp.fit(np.arange(60.0)[:, None], np.full(60, np.nan), missing="impute")
