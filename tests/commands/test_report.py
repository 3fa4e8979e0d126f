"""`python -m kan_exp.report` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from kan_exp.cli import store_schema
from kan_exp.config import ReportConfig, config_folder
from kan_exp.errors import KanExpError
from kan_exp.report import page_path, report, split_folders
from tests.conftest import run_light
from tests.reporting.conftest import write_run


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A folder `outputs` with two settings of three seeds."""
    root = tmp_path_factory.mktemp("report")
    for layer, errors in {"mlp": [0.1, 0.2, 0.3], "interpo": [0.5, 0.6, None]}.items():
        for seed, error in enumerate(errors):
            state = "failed" if error is None else "done"
            typed = {"layer": layer}
            folder = write_run(
                root / "outputs" / f"{layer}{seed}", error, seed=seed, typed=typed, state=state
            )
            history = {"train": [], "val": [[1, 1.0], [2, error or 1.0]]}
            (folder / "history.json").write_text(json.dumps(history))
    return root / "outputs"


def run(*arguments, cwd):
    return run_light("report", *arguments, cwd=cwd)


def called(*folders, **options):
    """Calls the task within this process."""
    store_schema("report_schema", ReportConfig)
    with initialize_config_dir(config_folder(), version_base="1.3"):
        cfg = compose("report", overrides=[f"{name}={value}" for name, value in options.items()])
    report([str(folder) for folder in folders], cfg)


def test_all_of_outputs_is_reported_without_torch(outputs):
    done = run(cwd=outputs.parent)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "imported:"
    for name in ("report.html", "report.csv", "report_runs.csv"):
        assert (outputs / name).is_file()
        assert any(line.strip() == str(outputs / name) for line in lines)
    assert "2 of 3" in done.stdout
    assert "1 run failed" in done.stdout
    page = (outputs / "report.html").read_text()
    assert page.count("<img ") == 2  # all have as many parameters and took as long
    assert "Learning curves" in page


def test_chosen_runs_go_to_a_chosen_page(outputs, tmp_path):
    called(outputs / "mlp0", outputs / "interpo0", output=tmp_path / "new" / "few.html")
    assert (tmp_path / "new" / "few.html").is_file()
    assert (tmp_path / "new" / "few.csv").read_text().count("\n") == 3
    assert (tmp_path / "new" / "few_runs.csv").read_text().count("\n") == 3


def test_a_wrong_option_is_one_line(outputs):
    done = run("outputs", "metrics=test_rmse", cwd=outputs.parent)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "Did you mean 'metric'?" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"metric": "rmse"}, "metric=rmse: no run has it"),
        ({"group_by": "[layers]"}, "Did you mean 'layer'?"),
        ({"output": "x.pdf"}, "output must be a folder or a .html file, got x.pdf"),
        ({"bootstrap.level": "1.5"}, "0 < level < 1"),
    ],
)
def test_wrong_values_are_told(outputs, options, said):
    with pytest.raises(KanExpError) as error:
        called(outputs, **options)
    assert said in str(error.value)


def test_the_output_goes_where_it_is_asked_to(tmp_path):
    (tmp_path / "v1.2").mkdir()
    read = [str(tmp_path / "a" / "b"), str(tmp_path / "a" / "c")]
    for output, page in [
        (None, tmp_path / "a" / "report.html"),
        ("x", Path("x/report.html")),
        ("y/z.html", Path("y/z.html")),
        (str(tmp_path / "v1.2"), tmp_path / "v1.2" / "report.html"),
    ]:
        assert page_path(output, read) == page


def test_folders_are_told_from_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    words = ["a/b", "metric=x", "lr=1", "--cfg", "job", "c", "-cd", "mine", "group_by=[layer]"]
    folders, rest = split_folders(words)
    assert folders == ["a/b", "lr=1", "c"]
    assert rest == ["--cfg", "job", "-cd", "mine", "metric=x", "group_by=[layer]"]
