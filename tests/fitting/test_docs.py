"""The examples of docs/python.md and of docstrings run as they stand."""

import doctest
import re

import pytest

import kan_exp
import kan_exp.sklearn
from tests.conftest import ROOT


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text()
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, names)  # noqa: S102 - our own page
    assert [path.name for path in tmp_path.iterdir()] == ["my_model"]
    assert names["search"].best_score_ > 0.9


PUBLIC = [getattr(kan_exp, name) for name in kan_exp.__all__ if name != "__version__"]
PUBLIC += [kan_exp.sklearn.KANRegressor, kan_exp.sklearn.KANClassifier]


@pytest.mark.parametrize("one", PUBLIC, ids=lambda one: one.__name__)
def test_what_is_public_has_an_example_that_runs(one):
    (example,) = doctest.DocTestFinder(recurse=False).find(one, globs={})
    assert example.examples
    doctest.DebugRunner().run(example)
