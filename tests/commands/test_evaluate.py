"""What evaluate scores, and what it refuses since it would not change that."""

from __future__ import annotations

import logging

import pytest

from kan_exp.errors import KanExpError
from kan_exp.evaluate import evaluate, read_arguments
from tests.commands.in_process import composed
from tests.conftest import read_metrics, run_command

TABLE = "x,y,z\n" + "".join(f"{k % 7},{k * k % 5},{k % 7 + k * k % 5}\n" for k in range(60))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("trained")
    (cwd / "t.csv").write_text(TABLE)
    options = ["data=table", "data.path=t.csv", "data.target=z", "layer=spline", "dims=[2,1]"]
    options += [
        "refine.num_candidates=[1]",
        "smoothing.method=null",
        "refine.steps=[2]",
        "logger=none",
        "~callbacks.figures",
    ]
    result = run_command("train", *options, "hydra.run.dir=run", cwd=cwd)
    assert result.returncode == 0, result.stderr
    (cwd / "t.csv").unlink()  # its table has moved
    return cwd / "run"


@pytest.fixture
def scored(trained, tmp_path, monkeypatch, caplog):
    """Evaluates the run, in a folder with its table under another name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved, ${x}.csv").write_text(TABLE)

    def score(*arguments):
        _, words = read_arguments([f"run={trained}", *arguments])
        cfg = composed("evaluate", *words)
        with caplog.at_level(logging.INFO):
            evaluate(cfg)
        return caplog.messages

    return score


def test_a_table_that_has_moved_is_found_by_its_new_path(trained, scored):
    with pytest.raises(KanExpError, match=r"no such file .*: set data.path=FILE\.$"):
        scored()
    lines = scored("data.path=moved, ${x}.csv")
    assert lines[0].endswith("on its own test points")
    assert f"{read_metrics(trained)['test_rmse']:.3g}" in lines[1]


def test_another_table_is_not_taken_for_the_one_that_has_moved(scored, tmp_path):
    (tmp_path / "other.csv").write_text(f"{TABLE}1,2,3\n")
    with pytest.raises(KanExpError, match="its data have changed since"):
        scored("data.path=other.csv")
    with pytest.raises(KanExpError, match=r"set data\.path=FILE"):
        scored("data.path=nowhere.csv")


OTHER = ["data=table", "data.path=moved, ${x}.csv"]


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        (["points=5"], "points=5"),
        ([*OTHER, "data.fractions=[0.5,0.2,0.3]"], "data.fractions"),
        ([*OTHER, "data.seed=3"], "data.seed=3"),
        ([*OTHER, "data.split=order"], "data.split=order"),
        ([*OTHER, "data.folds=5"], "data.folds=5"),
        ([*OTHER, "points=5"], "points=5"),
        (["data.path=moved, ${x}.csv", "points=5"], "points=5"),
        (["data=sampled", "target=product", "data.num_train=5"], "data.num_train=5"),
        (["data=sampled", "target=product", "data.border=0.5"], "data.border=0.5"),
        (["data=sampled", "target=product", "target.noise=1"], "target.noise=1"),
        (["data=sklearn", "points=5"], "points=5"),
    ],
)
def test_an_option_without_effect_is_refused(scored, arguments, option):
    with pytest.raises(KanExpError) as caught:
        scored(*arguments)
    assert str(caught.value).startswith(option)
    assert "has no effect: evaluate scores" in str(caught.value)


def test_a_table_of_any_size_is_no_stream(scored):
    with pytest.raises(KanExpError, match=r"data=stream is for trainings: set data=table"):
        scored("data=stream", "data.path=moved, ${x}.csv")


@pytest.mark.parametrize("name", ["num_test", "target", "fractions"])
def test_options_of_data_need_a_choice_of_data(scored, name):
    with pytest.raises(
        KanExpError, match=rf"^data\.{name} needs data=\.\.\., such as data=sampled"
    ):
        scored(f"+data.{name}=50")


def test_the_rows_of_another_table_are_scored(scored):
    assert "60 rows of" in scored(*OTHER)[0]


def test_weights_of_another_table_count(scored, tmp_path):
    lines = TABLE.splitlines()
    rows = [f"{line},{k % 3}" for k, line in enumerate(lines[1:])]
    repeated = [line for k, line in enumerate(lines[1:]) for _ in range(k % 3)]
    (tmp_path / "weighted.csv").write_text("\n".join([f"{lines[0]},w", *rows]))
    (tmp_path / "repeated.csv").write_text("\n".join([lines[0], *repeated]))
    found = scored("data=table", "data.path=weighted.csv", "data.weight=w")[1].split()
    expected = scored("data=table", "data.path=repeated.csv")
    again = next(line for line in expected[2:] if line.split()[0] == found[0]).split()
    assert found[1] == again[1]
