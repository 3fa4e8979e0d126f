"""Data are checked before torch is imported, and read once."""

import pytest

from kan_exp.data import SklearnData, training_table
from kan_exp.data.checks import SKLEARN_SETS
from kan_exp.errors import KanExpError
from kan_exp.train import prepare

FAST = ["layer=interpo", "optimizer=adam", "steps=10", "logger=none"]


@pytest.mark.parametrize("features", ["null", "[b,a]"])
@pytest.mark.parametrize("separator", [",", "|", "\t"])
def test_a_table_is_read_once(tmp_path, monkeypatch, features, separator):
    rows = [separator.join(map(str, (k, k * k % 7, k % 13))) for k in range(40)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join([separator.join("aby"), *rows]) + "\n")
    opened: list[object] = []
    open_columns = training_table.open_columns

    def watched(path: object, *rest: object, **options: object):
        opened.append(path)
        return open_columns(path, *rest, **options)

    monkeypatch.setattr(training_table, "open_columns", watched)
    typed = separator.replace("\t", "\\t")
    data = [f"data.path={path}", "data.target=y", f"data.features={features}"]
    choice = [*FAST, "data=table", *data, f'data.separator="{typed}"', "dims=[2,1]"]
    experiment = prepare(choice, tmp_path / "run")
    assert [str(one) for one in opened] == [str(path)]
    expected = ("b", "a") if features != "null" else ("a", "b")
    assert experiment.data.features == expected
    with path.open("a") as file:
        file.write(separator.join("123") + "\n")
    again = prepare(choice, tmp_path / "run")
    assert len(opened) == 2
    assert again.data.table.rows == experiment.data.table.rows + 1


@pytest.mark.parametrize("name", SKLEARN_SETS)
def test_scikit_learns_sets_are_known_before_they_are_read(name):
    pytest.importorskip("sklearn")
    data = SklearnData(name, [0.7, 0.15, 0.15], 0)
    width, classes = SKLEARN_SETS[name]
    assert data.schema.classes == classes
    assert width is None or len(data.features) == width


def test_a_measured_column_can_be_learned_from_the_others():
    pytest.importorskip("sklearn")
    data = SklearnData("iris", [0.7, 0.15, 0.15], 0, target="petal width (cm)")
    assert len(data.features) == 3
    assert data.schema.targets == ("petal width (cm)",)
    assert data.schema.classes == ()
    with pytest.raises(KanExpError, match="iris has no column 'petal': choose from 'sepal length"):
        SklearnData("iris", [0.7, 0.15, 0.15], 0, target="petal")


def test_a_layer_of_an_old_run_may_lack_options_that_are_new(tmp_path):
    lacking = ["~layer.table_points", "layer=mlp", "dims=[2,1]", "logger=none"]
    for optimizer in ("lm", "adam"):
        experiment = prepare([*lacking, f"optimizer={optimizer}"], tmp_path / optimizer)
        assert experiment.module.model.edge_layers[0].table_points == 0


@pytest.mark.parametrize("target", ["${seed}", "${replicas}"])
def test_a_reference_names_a_column_of_a_table(tmp_path, target):
    (tmp_path / "t.csv").write_text("a,b\n" + "1,2\n" * 20)
    data = ["data=table", f"data.path={tmp_path / 't.csv'}", f"data.target={target}"]
    with pytest.raises(KanExpError) as caught:
        prepare([*FAST, *data, "dims=[1,1]"], tmp_path / "run")
    assert "data.target" in str(caught.value)
    assert "exp_sin_square" not in str(caught.value)
