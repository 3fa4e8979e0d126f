"""A search chooses by validation, resumes exactly, and survives failed trials."""

import errno
import json
import os
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.plugins.launcher import Launcher
from omegaconf import OmegaConf
from optuna.trial import TrialState

from kan_exp.commandline.explain import one_line
from kan_exp.errors import KanExpError
from kan_exp.runs import Status, write_json, write_status
from kan_exp.runs.folders import SWEEP
from kan_exp.sweeps import runner, search_figures
from kan_exp.sweeps.optuna_sweeper import OptunaSweeper
from kan_exp.sweeps.search_figures import draw_search
from kan_exp.sweeps.space import read_space
from kan_exp.sweeps.study import Settings, StoredStudy
from kan_exp.sweeps.summary import resumed_arguments, write_summary
from kan_exp.tasks import OLD_SCORING

GROUPS = {"layer": "mlp", "optimizer": "adam"}
NO_PRUNER = {"_target_": "optuna.pruners.NopPruner"}


class Sweeper(OptunaSweeper):
    """Without Hydra's configs: a job's configuration is the list of its overrides."""

    def parse(self, arguments):
        return OverridesParser.create().parse_overrides(arguments)

    def compose(self, overrides):
        if "callbacks=pruning" in overrides:
            return OmegaConf.create({"overrides": list(overrides), "callbacks": {"pruning": {}}})
        if "x=wrong" in overrides:
            raise KanExpError("x=wrong: there is no such x.")
        return OmegaConf.create({"overrides": list(overrides)})


class FakeLauncher(Launcher):
    """Scores each job by its options, and keeps them."""

    def __init__(self, score):
        self.score, self.launched = score, []

    def setup(self, *, hydra_context, task_function, config):
        raise NotImplementedError

    def launch(self, job_overrides, initial_job_idx):
        for texts in job_overrides:
            overrides = dict(text.split("=", 1) for text in texts)
            parts = [overrides[f"hydra.sweep.{name}"].strip("'") for name in ("dir", "subdir")]
            folder = Path(*parts)
            folder.mkdir(exist_ok=True)
            self.launched.append(overrides)
            status = Status("done", None, texts, "", initial_job_idx, 1, "host", "2026", 1.0)
            try:
                val = self.score(overrides)
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
    """Runs a search; returns its launcher, the rows of its table, stdout and the error."""

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
        except (KanExpError, OSError, KeyboardInterrupt) as raised:
            error = raised
        table = folder / SWEEP
        rows = json.loads(table.read_text())["jobs"] if table.exists() else None
        return sweeper.launcher, rows, capsys.readouterr().out, error

    return run


def parabola(overrides):
    return (float(overrides["x"]) - 0.3) ** 2 + 0.01


def test_the_smallest_validation_error_wins_and_its_test_error_is_printed(search):
    _, rows, output, error = search(parabola, 15, "x=interval(0,1)", draw=True)
    assert error is None
    assert len(rows) == 15
    best = min(rows, key=lambda row: row["val_rmse"])
    assert float(best["overrides"][0].partition("=")[2]) == pytest.approx(0.3, abs=0.05)
    errors = f"validation RMSE {best['val_rmse']:.3g}, test RMSE {best['test_rmse']:.3g}"
    assert f"best: job {best['job']}, {errors}\n" in output
    assert best["test_rmse"] == max(row["test_rmse"] for row in rows)
    assert f"python -m kan_exp.train {best['overrides'][0]}" in output
    folder = Path(next(line for line in output.splitlines() if line.endswith("sweep.csv"))).parent
    assert {path.name for path in (folder / "figures").iterdir()} == {"history.png", "parallel.png"}


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_interrupted_search_resumes_as_it_would_have_continued(search, at_once):
    space = ("x=interval(0,1)", "y=choice(a,b)")
    whole, rows, *_ = search(parabola, 9, *space, name="whole", n_jobs=at_once)

    def cut(overrides, calls=[]):  # noqa: B006 - counts
        calls.append(overrides)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return parabola(overrides)

    first, _, output, error = search(cut, 9, *space, n_jobs=at_once)
    assert isinstance(error, KeyboardInterrupt)
    assert "sweep.resume=" in output
    second, all_rows, *_ = search(parabola, 9, *space, resume=True, n_jobs=at_once)
    key = ("job", "overrides", "val_rmse")
    assert [[row[k] for k in key] for row in all_rows] == [[row[k] for k in key] for row in rows]
    assert len(first.launched) + len(second.launched) == len(whole.launched) + 1
    _, more, *_ = search(parabola, 11, *space, resume=True)
    assert [row["job"] for row in more] == list(range(11))


def test_a_trial_that_a_broken_launcher_did_not_begin_is_launched_later(search):
    calls = []

    def score(overrides):
        calls.append(overrides)
        if len(calls) == 2:
            raise RuntimeError("a worker died")
        return parabola(overrides)

    _, rows, _, error = search(score, 4, "x=interval(0,1)", n_jobs=2)
    assert error is None
    assert [(row["job"], row["state"]) for row in rows] == [(k, "done") for k in range(4)]


def test_a_full_disk_ends_a_search_and_what_is_done_is_kept(search, tmp_path, monkeypatch):
    """Also where the journal of the study ends within a line."""
    space = ("x=interval(0,1)", "y=choice(a,b)")
    whole, rows, *_ = search(parabola, 6, *space, name="whole")
    calls = []

    def write(*arguments):
        calls.append(arguments)
        if len(calls) == 8:  # two for each trial: before it and after it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "sweep.json")
        write_summary(*arguments)

    monkeypatch.setattr(runner, "write_summary", write)
    first, _, _, error = search(parabola, 6, *space)
    assert one_line(error) == "cannot write or read sweep.json: No space left on device."
    with (tmp_path / "search" / "study.journal").open("ab") as journal:
        journal.write(b'{"op_code":4,"wor')
    monkeypatch.undo()
    monkeypatch.setattr("kan_exp.sweeps.search_figures.draw_search", lambda *_: [])
    second, all_rows, _, error = search(parabola, 6, *space, resume=True)
    assert error is None
    key = ("job", "overrides", "val_rmse")
    assert [[row[k] for k in key] for row in all_rows] == [[row[k] for k in key] for row in rows]
    assert len(first.launched) + len(second.launched) == len(whole.launched)


def test_trials_that_fail_are_reported_and_do_not_affect_others(search):
    def score(overrides):
        if overrides["x"] == "high":
            raise ValueError("the loss became NaN or infinite")
        return 0.5

    launcher, rows, _, error = search(score, 8, "x=low,high,wrong", "z=interval(0,1)")
    states = {row["overrides"][0]: (row["state"], row["reason"]) for row in rows}
    assert states["x=low"] == ("done", None)
    assert states["x=high"] == ("failed", "the loss became NaN or infinite")
    assert states["x=wrong"] == ("failed", "x=wrong: there is no such x.")
    assert all(overrides["x"] != "wrong" for overrides in launcher.launched)
    count = sum(row["state"] == "failed" for row in rows)
    assert str(error).startswith(f"{count} of 8 jobs failed:")
    assert "resume" not in str(error)  # a trial that failed stays one


def test_a_configuration_that_has_been_run_is_not_run_again(search):
    launcher, rows, output, _ = search(lambda overrides: float(overrides["x"]), 6, "x=0.25,0.5")
    assert len(launcher.launched) == 2
    assert len(rows) == 6
    assert all(row["val_rmse"] == float(row["overrides"][0][2:]) for row in rows)
    assert "(as job" in output


@pytest.mark.parametrize("trials", [1, 2, 3, 20])
def test_a_space_of_which_no_trial_can_be_composed_ends_the_search(search, trials):
    launcher, rows, _, error = search(parabola, trials, "x=wrong", "y=interval(0,1)")
    assert str(error) == "x=wrong: there is no such x."
    assert launcher.launched == []
    assert len(rows or []) < 3


def test_a_first_trial_that_cannot_be_composed_does_not_affect_others(search):
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
def test_an_invalid_space_is_an_error(params, only, message):
    with pytest.raises(KanExpError, match=message):
        space(params, only)


def test_resuming_repeats_the_overrides_that_are_not_given_anew(tmp_path):
    before = ["hydra.sweeper.n_trials=6", "search=x", "seed=1"]
    write_json(tmp_path / SWEEP, {"overrides": before, "jobs": []})
    now = ["-m", f"sweep.resume={tmp_path}", "hydra.sweeper.n_trials=9", "--config-dir", "a"]
    assert resumed_arguments(now) == ["-m", "search=x", "seed=1", *now[1:]]
    assert resumed_arguments(["-m", "seed=0,1"]) == ["-m", "seed=0,1"]
    with pytest.raises(KanExpError, match="no sweep is known there"):
        resumed_arguments([f"sweep.resume={tmp_path / 'elsewhere'}"])


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

    def cut(overrides):
        if overrides["hydra.sweep.subdir"].startswith("'0_"):
            raise KeyboardInterrupt
        return parabola(overrides)

    search(cut, 3, "x=interval(0,1)", **options)
    launcher, *_ = search(parabola, 6, "x=interval(0,1)", resume=True, **options)
    for overrides in launcher.launched:
        number = overrides["hydra.sweep.subdir"].strip("'").partition("_")[0]
        assert overrides["callbacks.pruning.trial"] == number


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
