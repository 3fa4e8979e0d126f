"""Strategies that run in several processes give what they give in one."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
import psutil
import pytest

from kan_exp.symbolic import workers as module
from kan_exp.symbolic.dimensions import Dimensions
from kan_exp.symbolic.expression import Call, Input, exact
from kan_exp.symbolic.library import with_functions
from kan_exp.symbolic.problem import Problem
from kan_exp.symbolic.reduction import reductions
from kan_exp.symbolic.search import search
from kan_exp.symbolic.strategies import Strategy
from kan_exp.symbolic.sums import sums, sums_of_functions
from kan_exp.symbolic.trees import find_trees
from kan_exp.symbolic.workers import Workers, _Schedule
from tests.test_structure import needed

# A script as users write them: without a guard, and with what it needs on a path of its own.
SCRIPT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
import numpy as np, psutil, threading, time
from kan_exp.symbolic import workers
from kan_exp.symbolic.search import search
from kan_exp.symbolic.workers import Workers

assert "torch" not in sys.modules
workers._HEAD_START = 0
def progress(name):
    for process in psutil.Process().children():
        print(process.pid, flush=True)

x = np.random.default_rng(0).uniform(1, 3, (300, 2))
y = np.tanh(x @ np.random.default_rng(0).standard_normal((2, 9))).sum(1)
search(x, y, workers=Workers(2), progress=progress, seconds=600)
"""


@pytest.fixture(autouse=True)
def _workers_start_at_once(monkeypatch):
    monkeypatch.setattr(module, "_HEAD_START", 0)


def problem(count=120, seconds=600.0):
    x = np.random.default_rng(0).uniform(1, 3, (count, 2))
    y = x[:, 0] * x[:, 1] + x[:, 1] ** 2 / x[:, 0]
    return Problem(x, y, np.ones(count), 0.0, time.monotonic() + seconds)


def strategies():
    data = problem()
    hard = Problem(data.x, np.tanh(data.y * data.x[:, 1]), data.weight, 0.0, data.deadline)
    return [
        Strategy("trees", hard, find_trees),
        Strategy("sums", data, sums),
        Strategy("reductions", data, reductions),
    ]


def progress(name):
    pass


def children():
    return set(psutil.Process().children(recursive=True))


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_two_workers_find_what_one_process_finds(noise):
    x = np.random.default_rng(0).uniform(1, 3, (300, 2))
    y = x[:, 0] * np.exp(-x[:, 1]) + x[:, 1] * np.exp(-x[:, 0])
    y += noise * y.std() * np.random.default_rng(1).standard_normal(len(y))
    before, results = children(), []
    for count in (1, 2):
        with Workers(count) as workers:
            result = search(x, y, workers=workers, seconds=600)
        assert result.complete
        results.append([repr(one) for one in (*result.candidates, result.best, result.found)])
    assert results[0] == results[1]
    assert children() == before


def test_what_workers_hear_comes_in_the_order_of_the_strategies():
    functions = {"wave": Call("sin", Input(0)) + exact(2)}
    with (
        Workers(2) as workers,
        with_functions(functions),
        closing(workers.run(strategies()[1:] * 2, problem().deadline, progress)) as results,
    ):
        found = [[repr(one) for one in stream] for stream in results]
    alone = [[repr(one) for one in strategy.run()] for strategy in strategies()[1:]]
    assert found == alone * 2
    assert all(alone)


def test_units_hold_in_workers():
    length, none = (Fraction(1),), (Fraction(0),)
    x = problem().x
    curve = replace(problem(), y=x[:, 0] * np.exp(-x[:, 1]) + x[:, 0])
    right, wrong = (Dimensions((length, unit), length) for unit in (none, length))
    sought = [
        Strategy("sums", replace(curve, dimensions=units), sums_of_functions)
        for units in (right, wrong)
    ]
    with Workers(2) as workers, closing(workers.run(sought, curve.deadline, progress)) as results:
        found = [list(stream) for stream in results]
    assert [[trial.has_units for trial in trials] for trials in found] == [[True], [False]]
    assert repr(found) == repr([list(strategy.run()) for strategy in sought])


def test_the_names_of_what_runs_are_shown_once():
    shown = []
    schedule = _Schedule(strategies(), 1, [], problem().deadline, shown.append)
    schedule.running = {1: None, 0: None}
    schedule.show()
    schedule.show()
    assert shown == ["trees, sums"]


def test_processes_are_used_again_and_end_with_the_context():
    before = children()
    with Workers(2) as workers:
        used = []
        for _ in range(2):
            with closing(workers.run(strategies()[1:], problem().deadline, progress)) as results:
                for stream in results:
                    list(stream)
            used.append(children() - before)
        assert used[0] == used[1] != set()
    assert children() == before


def test_ctrl_c_ends_the_workers_and_keeps_the_best():
    x = np.random.default_rng(0).uniform(1, 3, (300, 2))
    y = np.tanh(x @ np.random.default_rng(0).standard_normal((2, 9))).sum(1)
    before = children()

    def interrupt(name):
        if "tree" in name:
            raise KeyboardInterrupt

    with Workers(2) as workers:
        result = search(x, y, workers=workers, seconds=600, progress=interrupt)
        assert children() == before
    assert not result.complete
    assert result.candidates


def test_the_deadline_ends_the_wait_for_a_worker():
    slow, *_ = strategies()
    with Workers(2) as workers:
        over = time.monotonic()
        with closing(workers.run([slow, slow], over, progress)) as results:
            next(results)
            assert list(next(results)) == []


@dataclass(frozen=True)
class Fatal(Strategy):
    """A worker that reads this ends."""

    def __reduce__(self):
        return os._exit, (3,)


def test_what_a_failing_worker_does_is_done_without_it():
    _, *rest = strategies()
    fatal = Fatal("fatal", rest[1].problem, reductions)
    with (
        Workers(2) as workers,
        closing(workers.run([rest[0], fatal], problem().deadline, progress)) as results,
    ):
        next(results)
        with pytest.warns(RuntimeWarning, match="a worker of the search has failed"):
            found = [repr(one) for one in next(results)]
    assert found == [repr(one) for one in rest[1].run()]


def test_workers_end_with_a_process_that_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), json.dumps(sys.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        worker = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    psutil.wait_procs([worker], timeout=60)
    assert not worker.is_running()


def test_workers_import_neither_torch_nor_hydra():
    tops = {name.partition(".")[0] for name in needed("kan_exp.symbolic.workers")}
    assert "numpy" in tops
    assert not tops & {"torch", "lightning", "hydra", "matplotlib", "sympy", "polars"}
