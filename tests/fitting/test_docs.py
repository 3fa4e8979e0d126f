"""The examples of docs/python.md run as they stand."""

import re

from tests.conftest import ROOT


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "python.md").read_text()
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(example, names)  # noqa: S102 - our own page
    assert [path.name for path in tmp_path.iterdir()] == ["my_model"]
    assert names["search"].best_score_ > 0.9
