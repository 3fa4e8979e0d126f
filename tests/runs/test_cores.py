"""How many processes may compute at once."""

import os

import pytest

from kan_exp.errors import KanExpError
from kan_exp.runs.cores import count_workers, usable_cores

CORES = usable_cores()


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "max 100000"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({}, 64),
    ],
)
def test_containers_may_have_fewer_cores(tmp_path, monkeypatch, files, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(64)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cores(tmp_path) == cores


@pytest.mark.parametrize(("workers", "count"), [(None, CORES), ("auto", CORES), (1, 1), (7, 7)])
def test_the_number_of_workers(workers, count):
    assert count_workers("workers", workers) == count


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "many", "2"])
def test_what_is_no_number_of_workers_is_one_line(workers):
    with pytest.raises(KanExpError, match=r"workers must be auto or .* at least 1, got"):
        count_workers("workers", workers)
