"""The jobs of a sweep, and which of them are trained together."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from kan_exp.preparing.keys import run_key, stack_key
from kan_exp.preparing.references import asks_hydra
from kan_exp.preparing.translation import is_stackable
from kan_exp.preparing.widths import are_known
from kan_exp.runs import folder_name, option_name

Compose = Callable[[Sequence[str]], DictConfig]


@dataclass(frozen=True)
class Job:
    """One combination of the swept values.

    Args:
        number: Its place in the sweep.
        overrides: The overrides that it runs with.
        key: A digest of its resolved configuration; equal keys mean equal results.
        name: The overrides that distinguish it from the sweep's other jobs.
        seed: Its seed if that is a plain override.
        setting: The overrides without the seed.
        stack_key: A digest of the configuration without the seed. Jobs with the same key and
            setting can be trained as one network. None if this job cannot be stacked.
    """

    number: int
    overrides: tuple[str, ...]
    key: str
    name: str
    seed: int | None = None
    setting: tuple[str, ...] = ()
    stack_key: str | None = None


@dataclass(frozen=True)
class JobGroup:
    """What is launched as one run: a job, or jobs with consecutive seeds as its replicas.

    Args:
        jobs: One or more; replica k is the k-th.
        folder: The run's folder.
        extra: Overrides that do not affect the result.
    """

    jobs: tuple[Job, ...]
    folder: Path
    extra: tuple[str, ...] = ()

    @property
    def overrides(self) -> list[str]:
        """The overrides that it runs with, including its folder."""
        first = self.jobs[0]
        overrides = list(first.overrides)
        if len(self.jobs) > 1:
            overrides = [*first.setting, f"seed={first.seed}", f"replicas={len(self.jobs)}"]
        return [*overrides, *self.extra, f"hydra.sweep.subdir='{self.folder.name}'"]

    @property
    def name(self) -> str:
        """Its name on the terminal."""
        first, last = self.jobs[0], self.jobs[-1]
        if first is last:
            return first.name
        return re.sub(r"(?<!\S)seed=\d+", f"seed={first.seed}..{last.seed}", first.name)


def plan_jobs(combinations: Sequence[Sequence[str]], compose: Compose) -> list[Job]:
    """Makes the jobs of a sweep and composes the configuration of each setting.

    Args:
        combinations: The overrides of each job.
        compose: Gives the configuration of overrides.
    """
    varied = _varied(combinations)
    settings: dict[tuple[str, ...], _Setting] = {}
    jobs = []
    for number, combination in enumerate(combinations):
        overrides = as_run(combination, number)
        seed, others = split_seed(overrides)
        setting = settings.get(others)
        if setting is None or setting.asks_hydra:
            setting = settings[others] = _Setting(compose(overrides))
        if seed is not None:
            setting.cfg.seed = seed
        name = " ".join(text for text in overrides if option_name(text) in varied)
        stackable = seed is not None and setting.is_stackable
        keys = run_key(setting.cfg), stack_key(setting.cfg) if stackable else None
        jobs.append(Job(number, overrides, keys[0], name or f"job {number}", seed, others, keys[1]))
    return jobs


class _Setting:
    """A configuration shared by all seeds, since composing one takes far longer than a seed."""

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.asks_hydra = asks_hydra(cfg)  # which knows the overrides of each job
        self.is_stackable = _is_stackable(cfg)


def as_run(overrides: Sequence[str], number: int) -> tuple[str, ...]:
    """The overrides that a job runs with.

    Hydra's parser has escaped references; these are restored. One to the number of the job is
    replaced by the number, since a launcher counts only the jobs that it is given.

    Args:
        overrides: As Hydra's parser splits them.
        number: The job's.
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
    """The seed, if it is given once as a number, and the other overrides."""
    seeds = [text for text in overrides if option_name(text) == "seed"]
    value = seeds[0].partition("=")[2] if len(seeds) == 1 else ""
    if not value.isdecimal():
        return None, tuple(overrides)
    return int(value), tuple(text for text in overrides if text != seeds[0])


def _is_stackable(cfg: DictConfig) -> bool:
    """Whether jobs can be trained as one network, and whether that would be faster."""
    # 0 if the number of points, or that of inputs, is not known yet.
    dims = list(cfg.dims) if are_known(cfg.dims) else [0]
    edges = sum(before * after for before, after in itertools.pairwise(dims))
    batch = cfg.data.get("num_train", 0) if cfg.batch_size is None else cfg.batch_size
    if cfg.replicas != 1 or int(batch) * edges > cfg.sweep.most_stacked_work:
        return False
    return is_stackable(cfg)


def make_job_groups(jobs: Sequence[Job], folder: Path, most: int) -> list[JobGroup]:
    """Groups jobs that differ only in the seed by consecutive seeds.

    Args:
        jobs: The jobs to run.
        folder: The sweep's folder, in which each group gets its own.
        most: Jobs in a group; 1 leaves all alone.
    """
    stacks: dict[object, list[Job]] = {}
    for job in jobs:
        is_stacked = job.stack_key is not None and most > 1
        stack = (job.setting, job.stack_key) if is_stacked else job.number
        stacks.setdefault(stack, []).append(job)
    parts = itertools.chain.from_iterable(_consecutive(group, most) for group in stacks.values())
    return [make_job_group(part, folder) for part in sorted(parts, key=lambda part: part[0].number)]


def _consecutive(jobs: Sequence[Job], most: int) -> Iterator[tuple[Job, ...]]:
    part: list[Job] = []
    for job in sorted(jobs, key=lambda job: job.seed or 0):
        if part and (len(part) == most or (job.seed or 0) != (part[-1].seed or 0) + 1):
            yield tuple(part)
            part = []
        part.append(job)
    yield tuple(part)


def make_job_group(jobs: Sequence[Job], folder: Path, extra: tuple[str, ...] = ()) -> JobGroup:
    """A group with a folder of its own, such as `3_layer-mlp_seed-0`."""
    name = JobGroup(tuple(jobs), folder).name
    return JobGroup(tuple(jobs), folder / folder_name(str(jobs[0].number), name.split()), extra)


def number_of(folder: Path) -> int | None:
    """The number of a group's first job, with which the name of its folder begins."""
    number = folder.name.partition("_")[0]
    return int(number) if number.isdecimal() else None
