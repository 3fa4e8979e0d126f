"""The notebooks of `examples/` run as they are, and their outputs are those that they show."""

import json
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import start_new_kernel
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


@pytest.fixture(scope="module")
def kernel():
    """One kernel for all notebooks, which import the same packages."""
    manager, client = start_new_kernel(kernel_name="python3")
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, kernel, tmp_path):
    kept = nbformat.reads(path.read_text(), as_version=4)
    assert not list(tmp_path.iterdir())
    again = nbformat.from_dict(json.loads(json.dumps(kept)))
    manager, client = kernel
    # Nothing that another notebook has defined is left.
    for line in ("%reset -f", f"%cd -q {tmp_path}"):
        assert client.execute(line, reply=True, timeout=None)["content"]["status"] == "ok"
    notebook = NotebookClient(again, timeout=None, km=manager)
    notebook.kc = client
    notebook.execute()
    assert len(_shown(kept)) == len(_shown(again)) > 0
    assert not list(tmp_path.iterdir()), "a notebook writes no files"


def test_there_are_notebooks():
    assert len(NOTEBOOKS) == 3
