"""The jobs of a sweep, and which of them are trained together."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from kan_exp.preparing.keys import rest_key, run_key
from kan_exp.preparing.references import asks_hydra
from kan_exp.preparing.translation import is_stackable
from kan_exp.runs import folder_name, option_name

Compose = Callable[[Sequence[str]], DictConfig]


@dataclass(frozen=True)
class Job:
    """One combination of what is swept.

    Args:
        number: Its place in the sweep.
        overrides: What it is run with.
        key: A digest of its resolved configuration; equal keys mean the same result.
        name: What distinguishes it from the sweep's other jobs.
        seed: Where it is a plain override, so that jobs that differ in nothing else can be told.
        setting: The overrides without the seed.
        rest: A digest of the configuration without the seed; jobs that share it and the setting
            can be trained as one network. None if this job cannot be.
    """

    number: int
    overrides: tuple[str, ...]
    key: str
    name: str
    seed: int | None = None
    setting: tuple[str, ...] = ()
    rest: str | None = None


@dataclass(frozen=True)
class JobGroup:
    """What is launched as one: a job, or jobs with consecutive seeds as replicas of one network.

    Args:
        jobs: One or more; of several, replica k is the k-th.
        folder: Where it writes.
        beside: What else it is told, which decides nothing of its result.
    """

    jobs: tuple[Job, ...]
    folder: Path
    beside: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[str]:
        """What it is run with, its folder included."""
        first = self.jobs[0]
        overrides = list(first.overrides)
        if len(self.jobs) > 1:
            overrides = [*first.setting, f"seed={first.seed}", f"replicas={len(self.jobs)}"]
        return [*overrides, *self.beside, f"hydra.sweep.subdir='{self.folder.name}'"]

    @property
    def name(self) -> str:
        """How it is called on the terminal."""
        first, last = self.jobs[0], self.jobs[-1]
        if first is last:
            return first.name
        return re.sub(r"(?<!\S)seed=\d+", f"seed={first.seed}..{last.seed}", first.name)


def plan_jobs(combinations: Sequence[Sequence[str]], compose: Compose) -> list[Job]:
    """Makes the jobs of a sweep, after a look at whether each can be composed.

    Args:
        combinations: The overrides of each job.
        compose: Gives the configuration of overrides; in it, `sweep.most_stacked_work` says up to
            which work a step jobs are worth stacking.
    """
    varied = _varied(combinations)
    settings: dict[tuple[str, ...], _Setting] = {}
    jobs = []
    for number, combination in enumerate(combinations):
        overrides = as_run(combination, number)
        seed, rest = split_seed(overrides)
        setting = settings.get(rest)
        if setting is None or setting.asks_hydra:
            setting = settings[rest] = _Setting(compose(overrides))
        if seed is not None:
            setting.cfg.seed = seed
        name = " ".join(text for text in overrides if option_name(text) in varied)
        shared = rest_key(setting.cfg) if seed is not None and setting.is_stackable else None
        key = run_key(setting.cfg)
        jobs.append(Job(number, overrides, key, name or f"job {number}", seed, rest, shared))
    return jobs


class _Setting:
    """A configuration that serves for all seeds; composing one takes far longer than a seed."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.asks_hydra = asks_hydra(cfg)  # which knows the overrides of each job
        self.is_stackable = _is_stackable(cfg)


def as_run(overrides: Sequence[str], number: int) -> tuple[str, ...]:
    """The overrides with which a job is run.

    References are written as they were typed, where Hydra's parser has escaped them. One to the
    number of the job becomes that number: a launcher counts the jobs that it is given, of which
    some may be done already, or stacked.

    Args:
        overrides: As Hydra's parser splits them.
        number: Of the job.
    """
    plain = [re.sub(r"\$\\\{(.*?)\\\}", _reference, text) for text in overrides]
    return tuple(re.sub(r"\$\{hydra:job\.(num|id)\}", str(number), text) for text in plain)


def _reference(match: re.Match[str]) -> str:
    inner = re.sub(r"\\(.)", r"\1", match[1])
    return f"${{{inner}}}"


def _varied(combinations: Sequence[Sequence[str]]) -> set[str]:
    """The options whose values differ between jobs."""
    seen: dict[str, set[str]] = {}
    for overrides in combinations:
        for text in overrides:
            seen.setdefault(option_name(text), set()).add(text)
    return {option for option, texts in seen.items() if len(texts) > 1}


def split_seed(overrides: Sequence[str]) -> tuple[int | None, tuple[str, ...]]:
    """The seed, if it is plainly given once, and the overrides without it."""
    seeds = [text for text in overrides if option_name(text) == "seed"]
    value = seeds[0].partition("=")[2] if len(seeds) == 1 else ""
    if not value.isdecimal():
        return None, tuple(overrides)
    return int(value), tuple(text for text in overrides if text != seeds[0])


def _is_stackable(cfg: DictConfig) -> bool:
    """Whether jobs can be trained as one network, and whether it would be faster."""
    if cfg.replicas != 1 or _work(cfg) > cfg.sweep.most_stacked_work:
        return False
    return is_stackable(cfg)


def _work(cfg: DictConfig) -> int:
    """Values of edges that a step computes; 0 where the number of points is not known yet."""
    edges = sum(before * after for before, after in itertools.pairwise(cfg.dims))
    batch = cfg.data.get("num_train", 0) if cfg.batch_size is None else cfg.batch_size
    return int(batch) * edges


def make_job_groups(jobs: Sequence[Job], folder: Path, most: int) -> list[JobGroup]:
    """Puts jobs together that differ in the seed alone, in stacks of consecutive seeds.

    Args:
        jobs: What is to be run.
        folder: Of the sweep; each stack gets a folder in it.
        most: Jobs in a stack; 1 leaves all alone.
    """
    groups: dict[object, list[Job]] = {}
    for job in jobs:
        together = job.rest is not None and most > 1
        groups.setdefault((job.setting, job.rest) if together else job.number, []).append(job)
    parts = itertools.chain.from_iterable(_consecutive(group, most) for group in groups.values())
    return [make_job_group(part, folder) for part in sorted(parts, key=lambda part: part[0].number)]


def _consecutive(jobs: Sequence[Job], most: int) -> Iterator[tuple[Job, ...]]:
    part: list[Job] = []
    for job in sorted(jobs, key=lambda job: job.seed or 0):
        if part and (len(part) == most or (job.seed or 0) != (part[-1].seed or 0) + 1):
            yield tuple(part)
            part = []
        part.append(job)
    yield tuple(part)


def make_job_group(jobs: Sequence[Job], folder: Path) -> JobGroup:
    """A stack with a folder of its own, such as `3_layer-mlp_seed-0`."""
    stack = JobGroup(tuple(jobs), folder)
    return JobGroup(tuple(jobs), folder / folder_name(str(jobs[0].number), stack.name.split()))


def number_of(folder: Path) -> int | None:
    """The number of a stack's first job, which the name of its folder begins with."""
    number = folder.name.partition("_")[0]
    return int(number) if number.isdecimal() else None
