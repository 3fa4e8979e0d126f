"""Experiments of a user's own, as the command takes them."""

from __future__ import annotations

import pytest

HEAD = "# @package _global_\n"


@pytest.fixture
def mine(tmp_path, train):
    """Answers a command line with an experiment of this text."""

    def answer(text: str, *arguments: str):
        path = tmp_path / "my conf" / "experiment" / "x.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return train("--config-dir", "my conf", "experiment=x", *arguments)

    return answer


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dims: [2,1,1\nsteps: 3\n", "my conf/experiment/x.yaml, line 2, column 6: expected"),
        ("dims: [2,1,1]\n", "my conf/experiment/x.yaml: its first line must be"),
        (HEAD + "steps: abc\n", "experiment/x.yaml: steps: must be a whole number, got abc."),
        (
            HEAD + "hydra:\n  foo: 1\n",
            "experiment/x.yaml: hydra.foo: Key 'foo' not in 'HydraConf'.",
        ),
        (HEAD + "steps: ${gradient.step}\n", "steps refers to gradient.step, which is not there."),
    ],
)
def test_a_fault_in_it_is_one_line(mine, text, line):
    assert mine(text).line.startswith(line)


def test_it_may_choose_what_hydra_does(mine):
    text = (
        HEAD + "defaults:\n  - override /hydra/launcher: joblib\nhydra:\n  job:\n    name: mine\n"
    )
    hydra = mine(text).hydra
    assert hydra.runtime.choices["hydra/launcher"] == "joblib"
    assert hydra.job.name == "mine"
    assert mine(text, "hydra/launcher=warm").hydra.runtime.choices["hydra/launcher"] == "warm"


def test_what_hydra_does_by_default_is_ours(train):
    choices = train().hydra.runtime.choices
    found = {name: choices[f"hydra/{name}"] for name in ("launcher", "job_logging", "help")}
    assert found == {"launcher": "warm", "job_logging": "run", "help": "train"}
