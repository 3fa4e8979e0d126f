"""The versions that a run was made with."""

from __future__ import annotations

import shutil
import subprocess
from importlib import import_module

import pytest

from kan_exp.runs import changes
from kan_exp.runs.versions import versions


def git(folder, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(import_module("kan_exp.runs.versions"), "PATIENCE", 600.0)
    versions.cache_clear()
    yield tmp_path
    versions.cache_clear()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_the_folder_one_works_in_is_told(here):
    git(here, "init", "-q")
    (here / "a.txt").write_text("1")
    git(here, "add", "a.txt")
    git(here, "commit", "-qm", "first")
    commit = git(here, "rev-parse", "HEAD")
    (here / "new.txt").write_text("1")  # of no repository yet, as results are
    assert versions()["folder_commit"] == commit
    (here / "a.txt").write_text("2")
    versions.cache_clear()
    assert versions()["folder_commit"] == f"{commit}-dirty"


def test_without_git_nothing_is_missing_but_the_commit(here, monkeypatch):
    (here / ".git").mkdir()
    monkeypatch.setenv("PATH", "")
    found = versions()
    assert "folder_commit" not in found
    assert {"python", "torch"} <= set(found)


def test_each_difference_is_a_line():
    then = {"torch": "2.12.1", "numpy": "2.4.6", "commit": "abc"}
    now = {"torch": "2.13.0", "numpy": "2.4.6", "folder_commit": "def-dirty"}
    assert changes(then, now) == [
        "torch 2.13.0 now, 2.12.1 then",
        "commit none now, abc then",
        "folder commit def-dirty now, none then",
    ]
    assert changes(then, then) == []


def test_of_commits_one_sees_as_much_as_git_shows():
    then, now = {"commit": "ab" * 20}, {"commit": f"{'12' * 20}-dirty"}
    assert changes(then, now) == ["commit 1212121212-dirty now, ababababab then"]


def test_a_kernel_is_told_if_it_was_known_and_is_another():
    then, now = {"torch": "2", "kernel": "native"}, {"torch": "2", "kernel": "torch"}
    assert changes(then, now) == ["kernel torch now, native then"]
    assert changes({"torch": "2"}, now) == changes(then, {"torch": "2"}) == []
