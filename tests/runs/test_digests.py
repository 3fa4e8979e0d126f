"""Digests of files."""

from __future__ import annotations

import os

from kan_exp.runs.files import content_or_path


def test_what_is_no_file_is_not_read(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, "/dev/zero", tmp_path / "missing.csv"):
        assert content_or_path(str(path)) == str(path)


def test_files_of_the_same_content_have_the_same_digest(tmp_path):
    (tmp_path / "a.csv").write_text("a,b\n")
    (tmp_path / "b.csv").write_text("a,b\n")
    (tmp_path / "c.csv").write_text("a,c\n")
    a, b, c = (content_or_path(str(tmp_path / f"{name}.csv")) for name in "abc")
    assert a == b != c
