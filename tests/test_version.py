"""`--version` tells with what a result was made."""

from __future__ import annotations

from importlib.metadata import version

import pytest

from kan_exp import __version__, dashboard
from kan_exp.runs import asks_version
from tests.commands.in_process import Train


@pytest.mark.parametrize("flag", ["--version", "--vers"])
def test_commands_print_their_versions(capsys, monkeypatch, tmp_path, flag):
    answer = Train(capsys, monkeypatch)(flag, "layer=nothing")
    assert answer.code == 0
    assert dashboard.main([flag]) == 0
    for text in (answer.out, capsys.readouterr().out):
        lines = text.splitlines()
        assert lines[0] == f"kan_exp {__version__}"
        assert {f"torch {version('torch')}", f"hydra-core {version('hydra-core')}"} <= set(lines)


def test_other_flags_do_not_ask_for_it():
    assert not asks_version(["--", "-v", "--help", "version", "--versions"])


def test_a_home_of_nobody_is_a_name(capsys):
    assert dashboard.main(["logdir=~nobody-of-this-name"]) == 1
    assert "~nobody-of-this-name: there is no such folder." in capsys.readouterr().err
