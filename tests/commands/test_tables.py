"""A user's own table: train on it, score other rows, write predictions."""

import csv
import math
import shutil

import pytest

import kan_exp
from tests.conftest import read_metrics, run_command, run_folders


def _write(path, rows, header="width,height,area"):
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")


def _rows(count, start):
    for number in range(start, start + count):
        width, height = 10 + 7 * math.sin(number), 5 + 3 * math.cos(2.3 * number)
        yield round(width, 4), round(height, 4), round(width * height, 4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A short run on a table of rectangles, and the folder where it was started."""
    cwd = tmp_path_factory.mktemp("table")
    _write(cwd / "rectangles.csv", _rows(300, 0))
    arguments = ["data=table", "data.path=rectangles.csv", "data.target=area", "layer=interpo"]
    result = run_command("train", *arguments, "dims=[2,3,1]", "steps=1500", cwd=cwd)
    assert result.returncode == 0, result.stderr
    (folder,) = run_folders(cwd)
    return cwd, folder, result


def test_the_run_says_what_it_took_and_scores_in_the_tables_units(trained):
    _, folder, result = trained
    assert "rectangles.csv: 300 rows, 2 features -> area" in result.stdout
    metrics = read_metrics(folder)
    assert metrics["linear_r2"] < metrics["test_r2"]
    assert metrics["test_r2"] > 0.95
    model = kan_exp.load(folder)
    assert model.features == ("width", "height")


def test_evaluate_scores_the_runs_own_test_rows_as_the_run_did(trained, command):
    cwd, folder, _ = trained
    result = command("evaluate", f"run={folder.relative_to(cwd)}", cwd=cwd)
    shown = trained[2].stdout.partition("test RMSE ")[2].partition(" (linear")[0].strip()
    assert "± " in shown
    assert f"RMSE {shown}" in [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert result.returncode == 0, result.stderr
    assert f"{read_metrics(folder)['test_rmse']:.3g}" in result.stdout


def test_evaluate_scores_new_rows_whatever_the_order_of_their_columns(trained, command):
    cwd, folder, _ = trained
    rows = list(_rows(50, 1000))
    _write(cwd / "new.csv", ((c, "x", b, a) for a, b, c in rows), "area,name,height,width")
    new = ["data=table", "data.path=new.csv"]
    result = command("evaluate", f"run={folder.relative_to(cwd)}", *new, cwd=cwd)
    assert result.returncode == 0, result.stderr
    assert "50 rows of new.csv" in result.stdout
    model = kan_exp.load(folder)
    error = [model.predict(_tensor([[a, b]])).item() - c for a, b, c in rows]
    rmse = math.sqrt(sum(e * e for e in error) / len(error))
    assert f"{rmse:.3g}" in result.stdout


def _tensor(rows):
    import torch

    return torch.tensor(rows, dtype=torch.float64)


def test_predict_writes_one_row_for_each(trained, command):
    cwd, folder, _ = trained
    rows = list(_rows(20, 5000))
    _write(cwd / "ask.csv", ((b, a) for a, b, _ in rows), "height,width")
    run = f"run={folder.relative_to(cwd)}"
    result = command("predict", run, "input=ask.csv", "output=pred.csv", cwd=cwd)
    assert result.returncode == 0, result.stderr
    with (cwd / "pred.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert list(found[0]) == ["height", "width", "area_predicted"]
    model = kan_exp.load(folder)
    for (a, b, _), row in zip(rows, found, strict=True):
        assert float(row["width"]) == a
        expected = model.predict(_tensor([[a, b]])).item()
        assert float(row["area_predicted"]) == pytest.approx(expected, rel=1e-5)
    assert not list(cwd.glob("*.partial"))


@pytest.mark.parametrize(
    ("name", "arguments", "fragments"),
    [
        ("evaluate", ["run=nowhere"], ["nowhere", "no such folder"]),
        ("evaluate", ["run=."], ["holds a run: name the folder of one"]),
        ("evaluate", [], ["run is needed"]),
        ("predict", ["run=RUN", "input=ask2.csv"], ["output is needed"]),
        ("predict", ["run=RUN", "input=no.csv", "output=p.csv"], ["no.csv"]),
        ("predict", ["run=RUN", "input=bad.csv", "output=p.csv"], ["bad.csv", "height"]),
        ("predict", ["run=RUN", "input=bad.csv", "output=p.txt"], ["output", ".csv"]),
        ("predict", ["run=RUN", "input=bad.csv", "output=bad.csv"], ["same file"]),
        ("predict", ["run=RUN", "input=bad.csv", "output=no/p.csv"], ["no folder"]),
        ("evaluate", ["run=RUN", "modules=[no_such_module]"], ["no_such_module"]),
        ("evaluate", ["run=RUN", "data=sampled"], ["x, y", "width, height"]),
    ],
)
def test_what_cannot_be_scored_is_one_line(trained, command, name, arguments, fragments):
    cwd, folder, _ = trained
    _write(cwd / "bad.csv", [(1,)], "width")
    arguments = [a.replace("RUN", str(folder.relative_to(cwd))) for a in arguments]
    result = command(name, *arguments, cwd=cwd)
    assert result.returncode == 1
    (line,) = result.stderr.strip().splitlines()
    for fragment in fragments:
        assert fragment in line
    assert not (cwd / "p.csv").exists()


def test_a_run_folder_cannot_make_evaluate_call_what_it_names(trained, command, tmp_path):
    _, folder, _ = trained
    shutil.copytree(folder, tmp_path / "run")
    config = tmp_path / "run" / ".hydra" / "config.yaml"
    text = config.read_text().replace("kan_exp.data.TableData", "os.system")
    config.write_text(text)
    result = command("evaluate", "run=run")
    assert result.returncode == 1
    assert "os.system" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_evaluate_notices_that_the_table_has_changed(trained, command, tmp_path):
    """Rows the network was trained on could otherwise pass for its test rows."""
    cwd, folder, _ = trained
    for path in cwd.glob("*.csv"):
        shutil.copy(path, tmp_path)
    shutil.copytree(folder, tmp_path / "run")
    config = tmp_path / "run" / ".hydra" / "config.yaml"
    config.write_text(config.read_text().replace(str(cwd), str(tmp_path)))
    same = command("evaluate", "run=run")
    assert same.returncode == 0, same.stderr
    table = tmp_path / "rectangles.csv"
    header, first, *rows = table.read_text().splitlines()
    table.write_text("\n".join([header, *rows, first]) + "\n")
    moved = command("evaluate", "run=run")
    assert moved.returncode == 1
    assert "its data have changed since" in moved.stderr
    assert len(moved.stderr.strip().splitlines()) == 1
