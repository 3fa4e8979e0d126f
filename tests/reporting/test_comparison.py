"""What the table says of each setting, and what it must not."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from kan_exp.errors import KanExpError
from kan_exp.reporting.comparison import compare_runs
from kan_exp.reporting.notes import make_notes
from kan_exp.reporting.statistics import Bootstrap
from kan_exp.reporting.tables import runs_csv, settings_csv
from kan_exp.runs.records import read_records
from tests.reporting.conftest import write_run

BOOTSTRAP = Bootstrap(level=0.95, resamples=500, seed=0)


def write_seeds(root, layer, errors, first_seed=0, **options):
    """One run for each error; None is a run that failed."""
    for seed, error in enumerate(errors, first_seed):
        state = "failed" if error is None else "done"
        folder = root / f"{layer}-{seed}"
        write_run(folder, error, state=state, seed=seed, typed={"layer": layer}, **options)


def summary_of(root, metric="test_rmse", group_by=None):
    return compare_runs(read_records([root]), metric, group_by, BOOTSTRAP)


def settings_of(root, **options):
    (section,) = summary_of(root, **options).sections
    return section.settings


def test_seeds_are_folded(tmp_path):
    errors = [0.3, 0.1, 0.2, 0.8, 0.15]
    write_seeds(tmp_path, "mlp", errors)
    (one,) = settings_of(tmp_path)
    assert one.quartiles == pytest.approx(np.percentile(errors, [25, 50, 75]))
    assert (one.best, one.worst) == (0.1, 0.8)
    assert (one.parameters, one.seconds) == (50, 2.0)
    assert one.sample.interval.low <= 0.2 <= one.sample.interval.high
    assert one.effect is None


def test_failures_are_counted_and_cost_the_place(tmp_path):
    write_seeds(tmp_path, "lucky", [0.1, 0.1, None, None, None])
    write_seeds(tmp_path, "steady", [0.2, 0.2, 0.2, 0.2, 0.2])
    write_seeds(tmp_path, "slow", [0.9, 0.9, 0.9, 0.9, None])
    settings = settings_of(tmp_path)
    assert [one.name[0] for one in settings] == ["steady", "slow", "lucky"]
    assert settings[2].undone == {"failed": 3}
    assert (len(settings[2].values), len(settings[2].records)) == (2, 5)
    assert settings[2].quartiles[1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("other", "verdict"),
    [
        ([0.11, 0.10, 0.12, 0.09, 0.11], "no difference visible"),
        ([0.5, 0.6, 0.55, 0.65, 0.4], "visible difference"),
        ([0.5, 0.6, 0.55, 0.65, None], "too few seeds to tell"),
        ([None, None], "none finished"),
    ],
)
def test_a_difference_is_claimed_only_where_it_shows(tmp_path, other, verdict):
    write_seeds(tmp_path, "first", [0.08, 0.10, 0.11, 0.10, 0.10])
    write_seeds(tmp_path, "other", other)
    settings = settings_of(tmp_path)
    assert settings[1].verdict == verdict
    assert settings[0].verdict == ""


def test_seeds_are_paired_only_where_they_are_the_same(tmp_path):
    write_seeds(tmp_path, "a", [0.1, 0.2, 0.3])
    write_seeds(tmp_path, "b", [0.2, 0.3, 0.4])
    write_seeds(tmp_path, "c", [0.3, 0.4, 0.5], first_seed=1)
    write_seeds(tmp_path, "d", [0.4, None, 0.6])
    assert [one.effect and one.effect.paired for one in settings_of(tmp_path)] == [
        None,
        True,
        False,
        False,
    ]


def test_more_is_better_for_r2_and_differences_are_reported(tmp_path):
    write_seeds(tmp_path, "good", [0.1] * 5)
    write_seeds(tmp_path, "bad", [0.8] * 5)
    good, bad = settings_of(tmp_path, metric="test_r2")
    assert (good.name, good.best) == (("good",), pytest.approx(0.9))
    assert not bad.effect.is_ratio  # R2 may be zero or less, where a ratio says nothing
    assert bad.effect.value == pytest.approx(-0.7)
    assert bad.verdict == "visible difference"


def test_an_error_of_zero_has_no_ratio(tmp_path):
    write_seeds(tmp_path, "perfect", [0.0] * 5)
    write_seeds(tmp_path, "other", [0.5] * 5)
    assert settings_of(tmp_path)[1].effect == ((0.5), (0.5, 0.5), True, False)


@pytest.mark.parametrize("stopped", ["diverged", "interrupted"])
def test_the_score_of_a_run_that_was_cut_short_does_not_count(tmp_path, stopped):
    write_seeds(tmp_path, "a", [0.1, 0.2, 0.3])
    cut = {"stopped": stopped}
    write_run(tmp_path / "cut", 99.0, state="failed", seed=3, typed={"layer": "a"}, more=cut)
    (one,) = settings_of(tmp_path)
    assert one.worst == 0.3
    assert one.undone == {stopped: 1}


def test_settings_on_other_points_are_not_compared(tmp_path):
    write_seeds(tmp_path / "x", "a", [0.1] * 3)
    write_seeds(tmp_path / "y", "b", [0.2] * 3, more={"test_points": "cd" * 32})
    summary = summary_of(tmp_path)
    assert [len(section.settings) for section in summary.sections] == [1, 1]
    assert all(one.effect is None for one in summary.settings)
    assert "never between them" in make_notes(summary)[0]


def test_every_doubt_is_noted(tmp_path):
    write_seeds(tmp_path, "a", [0.1, 0.2, None])
    write_run(tmp_path / "old" / "a", 0.5, more={"choices": None})
    write_run(tmp_path / "old" / "b", 0.5, seed=9, more={"test_rmse": None})
    write_run(tmp_path / "more" / "seed_twice", 0.5, typed={"layer": "a"})
    write_run(tmp_path / "more" / "gpu", 0.5, typed={"layer": "b"}, more={"device": "cuda:0"})
    (tmp_path / "old" / "c" / ".hydra").mkdir(parents=True)
    write_run(tmp_path / "torn", 0.5)
    (tmp_path / "torn" / "metrics.json").write_text("{")
    notes = "\n".join(make_notes(summary_of(tmp_path)))
    for said in (
        "1 run failed: not in the medians",
        "1 run unreadable",
        f"1 could not be read: {tmp_path / 'torn' / 'metrics.json'}",
        "1 run of an older version",
        "1 run finished without test_rmse",
        "1 folders hold neither",
        "Some seeds occur more than once",
        "fewer than 5 seeds",
        "different devices or versions: cpu, cuda:0",
    ):
        assert said in notes


def test_wrong_metrics_are_reported(tmp_path):
    write_seeds(tmp_path, "a", [0.1])
    with pytest.raises(KanExpError, match=r"metric=test_rms: no run has it\. Did you mean"):
        summary_of(tmp_path, metric="test_rms")
    write_run(tmp_path / "b" / "c", state="failed")
    with pytest.raises(KanExpError, match="no run has finished yet"):
        summary_of(tmp_path / "b")
    write_run(tmp_path / "d" / "e", 0.5, more={"choices": {}})
    with pytest.raises(KanExpError, match="older version"):
        summary_of(tmp_path / "d")


def test_csv_files_have_every_setting_and_every_run_in_full(tmp_path):
    third = 1 / 3
    write_seeds(tmp_path, "a", [third, 0.5, None])
    write_seeds(tmp_path, "b,c", [0.7])
    summary = summary_of(tmp_path)
    settings = list(csv.DictReader(io.StringIO(settings_csv(summary))))
    assert [(row["layer"], row["runs"], row["finished"], row["failed"]) for row in settings] == [
        ("a", "3", "2", "1"),
        ("b,c", "1", "1", "0"),
    ]
    runs = list(csv.DictReader(io.StringIO(runs_csv(summary.records.records))))
    assert len(runs) == 4
    assert {row["choices.layer"] for row in runs} == {"a", "b,c"}
    assert float(runs[0]["test_rmse"]) == third
    assert [row["state"] for row in runs] == ["done", "done", "failed", "done"]
