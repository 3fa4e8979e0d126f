"""The notebooks of `examples/` run as they are, and their outputs are those that they show."""

import json
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted(Path(__file__).parents[1].joinpath("examples").glob("*.ipynb"))


def _shown(notebook):
    """What cells print, and the formulas that they end with."""
    texts = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            texts += [output["text"]] if output.output_type == "stream" else []
            data = output.get("data", {})
            texts += [data["text/latex"]] if "text/latex" in data else []
    return texts


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path):
    kept = nbformat.reads(path.read_text(), as_version=4)
    assert not list(tmp_path.iterdir())
    again = nbformat.from_dict(json.loads(json.dumps(kept)))
    options = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(again, timeout=None, kernel_name="python3", resources=options).execute()
    assert len(_shown(kept)) == len(_shown(again)) > 0
    assert not list(tmp_path.iterdir()), "a notebook writes no files"


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 3
