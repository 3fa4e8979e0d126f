"""Calls in another process: results and errors come back, whatever ended it."""

from __future__ import annotations

import os
import signal

import pytest

from kan_exp.errors import KanExpError
from kan_exp.preparing.forked import call_in_fork


def _refuse():
    raise KanExpError("t.csv: no such file")


def _fail():
    return {}["gone"]


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        (_refuse, KanExpError, "^t.csv: no such file$"),
        (_fail, RuntimeError, "KeyError: 'gone'"),
        (lambda: os._exit(3), KanExpError, "ended with exit code 3"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), KanExpError, "if memory is short"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), KanExpError, "was ended by SIGSEGV"),
    ],
    ids=["refused", "failed", "exit", "killed", "crashed"],
)
def test_the_reason_comes_back(function, kind, said):
    with pytest.raises(kind, match=said):
        call_in_fork(function)


def test_the_result_comes_back():
    assert call_in_fork(lambda: [1, 2]) == [1, 2]
