"""Ranks never outlive rank 0, and a rank that is lost is reported in one line."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from kan_exp.errors import KanExpError
from kan_exp.ranks import Processes, processes

HANGS = 1800.0  # seconds after which a process hangs, on however busy a machine
fork = multiprocessing.get_context("fork")


def refuse(reason: str) -> None:
    pytest.fail(reason)


def sleep(rank) -> None:
    threading.Event().wait()


def run(work, *, count=2, give_up=refuse) -> Processes:
    return Processes(count, work, str, give_up)


def test_ranks_have_numbers_and_end_with_the_run(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    ranks = fork.SimpleQueue()

    def work(rank):
        ranks.put((rank.number, rank.count, rank.store))
        sleep(rank)

    run_of_three = run(work, count=3)
    with run_of_three as rank_0:
        assert (rank_0.number, rank_0.count) == (0, 3)
        numbers = sorted([ranks.get(), ranks.get()])
        assert numbers == [(1, 3, rank_0.store), (2, 3, rank_0.store)]
        others = [psutil.Process(process.pid) for process in run_of_three.others]
    assert not any(process.is_running() for process in others)
    assert not Path(rank_0.store).parent.exists()


def test_ranks_end_when_rank_0_is_killed():
    pids = fork.SimpleQueue()

    def lead():
        with run(lambda rank: (pids.put(os.getpid()), sleep(rank)), count=3):
            threading.Event().wait()

    rank_0 = fork.Process(target=lead)
    rank_0.start()
    others = [psutil.Process(pids.get()) for _ in range(2)]
    assert all(process.is_running() for process in others)
    rank_0.kill()
    rank_0.join()
    _, alive = psutil.wait_procs(others, timeout=HANGS)
    assert not alive


def test_ctrl_c_and_kill_are_for_rank_0():
    begun, proceed, done = fork.Event(), fork.Event(), fork.Event()

    def work(rank):
        begun.set()
        proceed.wait()
        done.set()

    ranks = run(work)
    with ranks:
        begun.wait()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(ranks.others[0].pid, number)
        proceed.set()
        assert done.wait(HANGS)


def fail(rank) -> None:
    raise ValueError("target: not finite")


def test_a_rank_that_fails_says_why():
    with pytest.raises(KanExpError, match=r"rank 1 .*one of 2.* failed: target: not finite"):
        run_and_raise(fail, RuntimeError("Connection closed by peer"))


def run_and_raise(work, error, *, kill=False) -> None:
    ranks = run(work)
    with ranks:
        if kill:
            ranks.others[0].kill()
        raise error


def test_an_error_after_a_lost_rank_reports_the_rank():
    with pytest.raises(KanExpError, match=r"rank 1 .* was killed by SIGKILL") as raised:
        run_and_raise(sleep, RuntimeError("Connection closed by peer"), kill=True)
    assert "\n" not in str(raised.value)


def test_an_error_without_a_lost_rank_is_raised_as_it_is(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    with pytest.raises(RuntimeError, match="own"):
        run_and_raise(sleep, RuntimeError("own"))


def test_a_rank_0_that_hangs_after_a_loss_is_given_up(monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE", 0.1)
    reasons: list[str] = []
    given_up = threading.Event()
    ranks = run(sleep, give_up=lambda reason: (reasons.append(reason), given_up.set()))
    with ranks:
        ranks.others[0].kill()
        assert given_up.wait(HANGS)
    assert "rank 1" in reasons[0]
