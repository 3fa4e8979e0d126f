"""A search chooses by validation, goes on as it would have gone, and survives its trials."""

import json
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from optuna.trial import TrialState

from kan_exp.errors import KanExpError
from kan_exp.runs import Status, write_json, write_status
from kan_exp.runs.folders import SWEEP
from kan_exp.sweeps import search_figures
from kan_exp.sweeps.optuna_sweeper import OptunaSweeper
from kan_exp.sweeps.search_figures import draw_search
from kan_exp.sweeps.space import read_space
from kan_exp.sweeps.study import Settings, StoredStudy
from kan_exp.sweeps.summary import same_again
from kan_exp.tasks import OLD_SCORING

GROUPS = {"layer": "mlp", "optimizer": "adam"}
NO_PRUNER = {"_target_": "optuna.pruners.NopPruner"}


class Sweeper(OptunaSweeper):
    """Without Hydra's configs: a job's configuration is what it is told."""

    def parse(self, arguments):
        return OverridesParser.create().parse_overrides(arguments)

    def compose(self, overrides):
        if "callbacks=pruning" in overrides:
            return OmegaConf.create({"told": list(overrides), "callbacks": {"pruning": {}}})
        if "x=wrong" in overrides:
            raise KanExpError("x=wrong: there is no such x.")
        return OmegaConf.create({"told": list(overrides)})


class FakeLauncher(Launcher):
    """Scores each job by its options, and keeps them."""

    def __init__(self, score):
        self.score, self.launched = score, []

    def setup(self, *, hydra_context, task_function, config):
        raise NotImplementedError

    def launch(self, job_overrides, initial_job_idx):
        for texts in job_overrides:
            told = dict(text.split("=", 1) for text in texts)
            folder = Path(*(told[f"hydra.sweep.{name}"].strip("'") for name in ("dir", "subdir")))
            folder.mkdir(exist_ok=True)
            self.launched.append(told)
            status = Status("done", None, texts, "", initial_job_idx, 1, "host", "2026", 1.0)
            try:
                val = self.score(told)
            except KeyboardInterrupt:
                write_status(folder, Status(**{**vars(status), "state": "interrupted"}))
                raise
            except ValueError as error:
                failed = {"state": "failed", "reason": str(error)}
                write_status(folder, Status(**{**vars(status), **failed}))
                continue
            # The more a job is made for the validation points, the worse it is on the test points.
            write_json(folder / "metrics.json", {"val_rmse": val, "test_rmse": 1 - val})
            write_status(folder, status)
        return []


@pytest.fixture
def search(tmp_path, capsys, monkeypatch):
    """Runs a search in a folder; gives its launcher, its table if there is one, what was said, and
    the error.
    """

    def run(
        score, trials, *arguments, name="search", resume=False, metric="val_rmse", draw=False,
        **options,
    ):  # fmt: skip
        if not draw:
            monkeypatch.setattr("kan_exp.sweeps.search_figures.draw_search", lambda *_: [])
        folder = tmp_path / name
        settings = {
            "n_trials": trials,
            "n_jobs": 1,
            "params": {},
            "only": {},
            "metric": "val_rmse",
            "study_name": "search",
            "sampler": OmegaConf.create(
                {"_target_": "optuna.samplers.TPESampler", "n_startup_trials": 5}
            ),
            "pruner": OmegaConf.create(NO_PRUNER),
            "seed": 0,
        }
        sweeper = Sweeper(**{**settings, **options})
        resumed = str(folder) if resume else None
        hydra = {"sweep": {"dir": str(folder)}, "runtime": {"choices": GROUPS}}
        hydra["overrides"] = {"hydra": [], "task": list(arguments)}
        hydra["launcher"] = {"_target_": "fake"}
        own = {"metric": metric, "most_stacked": 1, "resume": resumed, "origin": []}
        sweeper.config = OmegaConf.create(
            {
                "hydra": hydra,
                "sweep": own,
                "task": {"_target_": "kan_exp.tasks.Regression", **OLD_SCORING},
            }
        )
        sweeper.launcher = FakeLauncher(score)
        error = None
        try:
            sweeper.sweep(list(arguments))
        except (KanExpError, KeyboardInterrupt) as raised:
            error = raised
        table = folder / SWEEP
        rows = json.loads(table.read_text())["jobs"] if table.exists() else None
        return sweeper.launcher, rows, capsys.readouterr().out, error

    return run


def parabola(told):
    return (float(told["x"]) - 0.3) ** 2 + 0.01


def test_the_least_validation_error_wins_and_its_test_error_is_told(search):
    _, rows, said, error = search(parabola, 15, "x=interval(0,1)", draw=True)
    assert error is None
    assert len(rows) == 15
    best = min(rows, key=lambda row: row["val_rmse"])
    assert float(best["overrides"][0].partition("=")[2]) == pytest.approx(0.3, abs=0.05)
    errors = f"validation RMSE {best['val_rmse']:.3g}, test RMSE {best['test_rmse']:.3g}"
    assert f"best: job {best['job']}, {errors}\n" in said
    assert best["test_rmse"] == max(row["test_rmse"] for row in rows)
    assert f"python -m kan_exp.train {best['overrides'][0]}" in said
    folder = Path(next(line for line in said.splitlines() if line.endswith("sweep.csv"))).parent
    assert {path.name for path in (folder / "figures").iterdir()} == {"history.png", "parallel.png"}


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_search_that_was_cut_short_goes_on_as_it_would_have_gone(search, at_once):
    space = ("x=interval(0,1)", "y=choice(a,b)")
    whole, rows, *_ = search(parabola, 9, *space, name="whole", n_jobs=at_once)

    def cut(told, calls=[]):  # noqa: B006 - counts
        calls.append(told)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return parabola(told)

    first, _, said, error = search(cut, 9, *space, n_jobs=at_once)
    assert isinstance(error, KeyboardInterrupt)
    assert "sweep.resume=" in said
    second, all_rows, *_ = search(parabola, 9, *space, resume=True, n_jobs=at_once)
    key = ("job", "overrides", "val_rmse")
    assert [[row[k] for k in key] for row in all_rows] == [[row[k] for k in key] for row in rows]
    assert len(first.launched) + len(second.launched) == len(whole.launched) + 1
    _, more, *_ = search(parabola, 11, *space, resume=True)
    assert [row["job"] for row in more] == list(range(11))


def test_trials_that_fail_are_told_and_cost_no_other(search):
    def score(told):
        if told["x"] == "high":
            raise ValueError("the loss became NaN or infinite")
        return 0.5

    launcher, rows, _, error = search(score, 8, "x=low,high,wrong", "z=interval(0,1)")
    states = {row["overrides"][0]: (row["state"], row["reason"]) for row in rows}
    assert states["x=low"] == ("done", None)
    assert states["x=high"] == ("failed", "the loss became NaN or infinite")
    assert states["x=wrong"] == ("failed", "x=wrong: there is no such x.")
    assert all(told["x"] != "wrong" for told in launcher.launched)
    count = sum(row["state"] == "failed" for row in rows)
    assert str(error).startswith(f"{count} of 8 jobs failed:")
    assert "resume" not in str(error)  # a trial that failed stays one


def test_what_has_been_run_is_not_run_again(search):
    launcher, rows, said, _ = search(lambda told: float(told["x"]), 6, "x=0.25,0.5")
    assert len(launcher.launched) == 2
    assert len(rows) == 6
    assert all(row["val_rmse"] == float(row["overrides"][0][2:]) for row in rows)
    assert "(as job" in said


@pytest.mark.parametrize("trials", [1, 2, 3, 20])
def test_a_space_of_which_no_trial_can_be_composed_ends_the_search(search, trials):
    launcher, rows, _, error = search(parabola, trials, "x=wrong", "y=interval(0,1)")
    assert str(error) == "x=wrong: there is no such x."
    assert launcher.launched == []
    assert len(rows or []) < 3


def test_a_first_trial_that_cannot_be_composed_costs_no_other(search):
    for seed in range(20):
        launcher, rows, _, error = search(
            parabola, 6, "x=wrong,0.5", "y=interval(0,1)", name=f"search{seed}", seed=seed
        )
        if rows and rows[0]["state"] == "failed" and launcher.launched:
            break
    assert [row["job"] for row in rows] == list(range(6))
    assert rows[0]["reason"] == "x=wrong: there is no such x."
    assert "done" in [row["state"] for row in rows]
    assert " of 6 jobs failed:" in str(error)


def test_the_test_points_do_not_choose(search, tmp_path):
    launcher, _, _, error = search(parabola, 2, "x=interval(0,1)", metric="test_rmse")
    assert str(error).startswith("sweep.metric=test_rmse would choose by the test points")
    assert launcher.launched == []
    assert not (tmp_path / "search").exists()


class Highest:
    """A trial that chooses the last or the highest, and keeps what it was asked."""

    def __init__(self):
        self.asked = {}

    def suggest_categorical(self, name, choices):
        self.asked[name] = tuple(choices)
        return choices[-1]

    def suggest_float(self, name, low, high, *, step=None, log=False):
        self.asked[name] = (low, high, step, log)
        return high

    def suggest_int(self, name, low, high, *, step=1, log=False):
        self.asked[name] = (low, high, step, log)
        return high


def space(params, only=None, *arguments):
    parse = OverridesParser.create().parse_overrides
    return read_space(params, only or {}, arguments, GROUPS, parse)


def test_the_grammar_of_sweeps_says_what_is_searched():
    trial = Highest()
    params = {
        "a": "choice([2,1,1],[2,5,1])",
        "b": "tag(log,interval(1e-4,1e-1))",
        "c": "int(interval(4,64))",
        "d": "range(8,65,8)",
        "e": "x,y",
        "f": 7,
        "g": "range(0.5,2.1,0.5)",
    }
    chosen = space(params).choose(trial)
    assert chosen == {
        "a": "[2,5,1]", "b": 0.1, "c": 64, "d": 64, "e": "y", "f": "7", "g": 2.0,
    }  # fmt: skip
    assert trial.asked == {
        "a": ("[2,1,1]", "[2,5,1]"),
        "b": (1e-4, 0.1, None, True),
        "c": (4, 64, 1, False),
        "d": (8, 64, 8, False),
        "e": ("x", "y"),
        "g": (0.5, 2.0, 0.5, False),
    }


def test_an_option_that_a_choice_does_not_have_is_left_out():
    only = {
        "layer=interpo": {"layer.num_x": "choice(5,9)"},
        "layer=spline": {"layer.degree": "range(2,4)", "base": "a,b"},
        "base=b": {"scale": "interval(0,1)"},
    }
    chosen = space({"layer": "interpo,spline"}, only).choose(trial := Highest())
    assert chosen == {"layer": "spline", "layer.degree": 3, "base": "b", "scale": 1.0}
    assert "layer.degree (layer=spline)" in trial.asked
    # The command line wins, and the config's choice holds where nothing else makes it.
    assert space({}, only, "layer=interpo").choose(Highest()) == {
        "layer": "interpo",
        "layer.num_x": "9",
    }
    assert space({"x": "1,2"}, {}, "~logger").choose(Highest()) == {"~logger": "", "x": "2"}
    fixed = space({"layer": "interpo,spline"}, only, "base=a", "layer.degree=7")
    assert fixed.choose(Highest()) == {"layer": "spline", "layer.degree": "7", "base": "a"}
    default = space({"x": "1,2"}, {"layer=mlp": {"layer.fcn_hidden": 4}})
    assert default.choose(Highest()) == {"x": "2", "layer.fcn_hidden": "4"}


@pytest.mark.parametrize(
    ("params", "only", "message"),
    [
        ({"a": "3"}, {}, "needs something to choose"),
        ({"a": "interval(2,1)"}, {}, "the ends must rise"),
        ({"a": "tag(log,interval(0,1))"}, {}, "above 0"),
        ({"a": "tag(log,range(1,9,2))"}, {}, "steps of 1"),
        ({"a": "tag(log,choice(1,2))"}, {}, "between two"),
        ({"a": "tag(often,interval(0,1))"}, {}, "no tag but log"),
        ({"a": "range(3,3)"}, {}, "no number"),
        ({"a": "1,2"}, {"layr=mlp": {"b": "1,2"}}, "'layr=mlp' is no choice"),
        ({"a": "1,2"}, {"layer": {"b": "1,2"}}, "'layer' is no choice"),
    ],
)
def test_a_space_that_makes_no_sense_is_told(params, only, message):
    with pytest.raises(KanExpError, match=message):
        space(params, only)


def test_resuming_repeats_what_was_told_but_for_what_is_said_now(tmp_path):
    told = ["hydra.sweeper.n_trials=6", "search=x", "seed=1"]
    write_json(tmp_path / SWEEP, {"overrides": told, "jobs": []})
    now = ["-m", f"sweep.resume={tmp_path}", "hydra.sweeper.n_trials=9", "--config-dir", "a"]
    assert same_again(now) == ["-m", "search=x", "seed=1", *now[1:]]
    assert same_again(["-m", "seed=0,1"]) == ["-m", "seed=0,1"]
    with pytest.raises(KanExpError, match="no sweep is known there"):
        same_again([f"sweep.resume={tmp_path / 'elsewhere'}"])


def test_a_search_goes_by_one_metric(search):
    search(parabola, 2, "x=interval(0,1)")
    *_, error = search(parabola, 3, "x=interval(0,1)", resume=True, metric="steps")
    assert "this search goes by val_rmse: leave out sweep.metric=steps" in str(error)


@pytest.mark.parametrize("metric", ["test_rmse", "linear_r2"])
def test_a_search_does_not_go_by_the_test_points(search, metric):
    launcher, _, _, error = search(parabola, 2, "x=interval(0,1)", metric=metric)
    assert str(error).startswith(f"sweep.metric={metric} would choose by the test points")
    assert str(error).endswith("set sweep.metric=val_rmse")
    assert launcher.launched == []


def test_a_trial_reports_under_its_own_number_whatever_the_launcher_counts(search):
    """Of three that were open when a search was killed, one may be over already."""
    median = OmegaConf.create({"_target_": "optuna.pruners.MedianPruner"})
    options = {"pruner": median, "n_jobs": 3}

    def cut(told):
        if told["hydra.sweep.subdir"].startswith("'0_"):
            raise KeyboardInterrupt
        return parabola(told)

    search(cut, 3, "x=interval(0,1)", **options)
    launcher, *_ = search(parabola, 6, "x=interval(0,1)", resume=True, **options)
    for told in launcher.launched:
        number = told["hydra.sweep.subdir"].strip("'").partition("_")[0]
        assert told["callbacks.pruning.trial"] == number


@pytest.mark.parametrize("first", ["fails", "open"])
def test_the_history_has_all_trials_at_their_places(tmp_path, monkeypatch, first):
    shown = []
    monkeypatch.setattr(
        search_figures, "search_history_figure", lambda *args: shown.append(args) or None
    )
    monkeypatch.setattr(search_figures, "parallel_figure", lambda *_: None)
    sampler = OmegaConf.create({"_target_": "optuna.samplers.RandomSampler"})
    settings = Settings("val_rmse", "search", sampler, OmegaConf.create(NO_PRUNER), 0)
    study = StoredStudy(tmp_path, settings)
    trials = [study.next() for _ in range(4)]
    for trial in trials:
        trial.suggest_float("x", 0, 1)
    if first == "fails":
        study.study.tell(trials[0], state=TrialState.FAIL)
    study.study.tell(trials[1], 0.5)
    trials[2].report(0.7, 100)
    study.study.tell(trials[2], state=TrialState.PRUNED)
    draw_search(tmp_path, study)  # the last trial still runs
    ((errors, pruned, _),) = shown
    assert errors == [None, 0.5, 0.7]
    assert pruned == [False, False, True]
