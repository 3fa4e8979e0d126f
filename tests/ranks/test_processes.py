"""Ranks never outlive rank 0, and one that is lost is told in one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from kan_exp.errors import KanExpError
from kan_exp.ranks import Leader, processes

HANGS = 1800.0  # seconds after which a process hangs, on however busy a machine
READY = "from kan_exp.ranks import Follower; rank = Follower(); rank.gather();"
WAITING = READY + "rank._lines.get()"


def code(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def refuse(reason: str) -> None:
    pytest.fail(reason)


def ends(pid: int, seconds: float = HANGS) -> bool:
    """Whether a process ends; one that nobody has waited for has ended too."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if ") Z" in Path(f"/proc/{pid}/stat").read_text():
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_ranks_get_what_they_are_told_and_end_with_the_run(tmp_path):
    path = tmp_path / "told"
    rest = f"open({str(path)!r}, 'w').write(f'{{rank.job}} {{rank.share_port(None)}}'); input()"
    with Leader(3, {"folder": "there"}, refuse, code(READY + rest)) as leader:
        leader.gather()
        assert leader.share_port(4711) == 4711
        pids = [process.pid for process in leader._others.values()]
        while not path.exists() or not path.read_text():
            time.sleep(0.05)
    assert "'folder': 'there'" in path.read_text()
    assert path.read_text().endswith(" 4711")
    assert leader.lost is None
    assert all(ends(pid) for pid in pids)


def test_ranks_end_when_rank_0_is_killed():
    lead = f"""
import sys, time
from kan_exp.ranks import Leader
with Leader(2, {{}}, print, (sys.executable, "-c", {WAITING!r})) as leader:
    leader.gather()
    print(leader._others[1].pid, flush=True)
    time.sleep({HANGS})
"""
    with subprocess.Popen(code(lead), stdout=subprocess.PIPE, text=True) as rank_0:
        assert rank_0.stdout is not None
        pid = int(rank_0.stdout.readline())
        assert not ends(pid, 0.1)
        rank_0.kill()
        assert ends(pid)


def test_ctrl_c_and_kill_are_rank_0s(tmp_path):
    path = tmp_path / "goes on"
    rest = f"rank.share_port(None); open({str(path)!r}, 'w').close(); rank._lines.get()"
    with Leader(2, {}, refuse, code(READY + rest)) as leader:
        leader.gather()
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(leader._others[1].pid, number)
        leader.share_port(1)
        while not path.exists():  # it goes on after both
            assert leader._others[1].poll() is None
            time.sleep(0.05)
        assert leader._others[1].poll() is None


def test_a_rank_that_cannot_begin_says_why():
    text = READY.replace("rank.gather();", "raise SystemExit('target: not finite')")
    with (
        pytest.raises(KanExpError, match=r"rank 1 .*one of 2.* failed: target: not finite"),
        Leader(2, {}, refuse, code(text)) as leader,
    ):
        leader.gather()


def run_and_fail(error: Exception, *, killed: bool) -> None:
    with Leader(2, {}, refuse, code(WAITING)) as leader:
        leader.gather()
        if killed:
            leader._others[1].kill()
        leader.look_for_lost()
        raise error


def test_what_goes_wrong_because_a_rank_is_lost_is_told_as_that():
    with pytest.raises(KanExpError, match=r"rank 1 .* was killed by SIGKILL") as raised:
        run_and_fail(RuntimeError("Connection closed by peer"), killed=True)
    assert "\n" not in str(raised.value)


def test_an_error_of_ones_own_is_no_loss(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.1)
    with pytest.raises(RuntimeError, match="own"):
        run_and_fail(RuntimeError("own"), killed=False)


def test_rank_0_that_does_not_come_back_is_given_up(monkeypatch):
    monkeypatch.setattr(processes, "GRACE", 0.1)
    reasons: list[str] = []
    given_up = threading.Event()

    def give_up(reason: str) -> None:
        reasons.append(reason)
        given_up.set()

    with Leader(2, {}, give_up, code(WAITING)) as leader:
        leader.gather()
        leader._others[1].kill()
        assert given_up.wait(HANGS)
    assert "rank 1" in reasons[0]
