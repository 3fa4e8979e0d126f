"""The jobs of a sweep, and which of them are trained together."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from kan_exp.preparing.keys import run_key, stack_key
from kan_exp.preparing.references import asks_hydra
from kan_exp.preparing.translation import composed_widths, is_stackable
from kan_exp.runs import folder_name, option_name

Compose = Callable[[Sequence[str]], DictConfig]


@dataclass(frozen=True)
class Job:
    """One combination of the swept values."""

    number: int  # its place in the sweep
    overrides: tuple[str, ...]
    key: str  # a digest of its resolved configuration; equal keys mean equal results
    name: str  # the overrides that distinguish it from the sweep's other jobs
    seed: int | None = None  # None if it is not a plain override
    setting: tuple[str, ...] = ()  # the overrides without the seed
    # A digest of the configuration without the seed. Jobs with the same one and the same setting
    # can be trained as one network. None if this job cannot.
    stack_key: str | None = None


@dataclass(frozen=True)
class JobGroup:
    """What is launched as one run: a job, or jobs with consecutive seeds as its replicas."""

    jobs: tuple[Job, ...]  # replica k is the k-th
    folder: Path
    extra: tuple[str, ...] = ()  # overrides that do not affect the result

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
    """Makes a job of each combination of overrides; composes each setting once.

    To compose a configuration takes far longer than to change its seed.
    """
    texts = {text for overrides in combinations for text in overrides}
    options = Counter(map(option_name, texts))  # those with several values distinguish jobs
    settings: dict[tuple[str, ...], tuple[DictConfig, bool]] = {}
    jobs = []
    for number, combination in enumerate(combinations):
        overrides = job_overrides(combination, number)
        seed, others = split_seed(overrides)
        if others not in settings or asks_hydra(settings[others][0]):  # which knows the overrides
            cfg = compose(overrides)
            settings[others] = cfg, _is_worth_stacking(cfg)
        cfg, stacks = settings[others]
        if seed is not None:
            cfg.seed = seed
        name = " ".join(text for text in overrides if options[option_name(text)] > 1)
        shared = stack_key(cfg) if stacks and seed is not None else None
        job = Job(number, overrides, run_key(cfg), name or f"job {number}", seed, others, shared)
        jobs.append(job)
    return jobs


def job_overrides(overrides: Sequence[str], number: int) -> tuple[str, ...]:
    """A job's overrides, made from those that Hydra's parser has split.

    References, which the parser has escaped, are restored. One to the number of the job is replaced
    by the number, since a launcher counts only the jobs that it is given.
    """

    def restored(match: re.Match[str]) -> str:
        inner = re.sub(r"\\(.)", r"\1", match[1])
        return f"${{{inner}}}"

    plain = [re.sub(r"\$\\\{(.*?)\\\}", restored, text) for text in overrides]
    return tuple(re.sub(r"\$\{hydra:job\.(num|id)\}", str(number), text) for text in plain)


def split_seed(overrides: Sequence[str]) -> tuple[int | None, tuple[str, ...]]:
    """The seed, if it is given once as a number, and the other overrides."""
    seeds = [text for text in overrides if option_name(text) == "seed"]
    value = seeds[0].partition("=")[2] if len(seeds) == 1 else ""
    if not value.isdecimal():
        return None, tuple(overrides)
    return int(value), tuple(text for text in overrides if text != seeds[0])


def _is_worth_stacking(cfg: DictConfig) -> bool:
    """Whether jobs can be trained as one network, and whether that would be faster."""
    edges = sum(before * after for before, after in itertools.pairwise(composed_widths(cfg)))
    batch = cfg.data.get("num_train", 0) if cfg.batch_size is None else cfg.batch_size
    is_small = int(batch) * edges <= cfg.sweep.most_stacked_work
    return cfg.replicas == 1 and is_small and is_stackable(cfg)


def make_job_groups(jobs: Sequence[Job], folder: Path, most: int) -> list[JobGroup]:
    """Groups jobs that differ only in the seed by consecutive seeds, at most `most` in a group.

    Each group gets its own folder in `folder`.
    """
    groups: dict[object, list[list[Job]]] = {}
    for job in sorted(jobs, key=lambda job: (job.seed or 0, job.number)):
        setting = job.number if job.stack_key is None else (job.setting, job.stack_key)
        parts = groups.setdefault(setting, [[]])
        last = parts[-1]
        if last and (len(last) == most or job.seed != (last[-1].seed or 0) + 1):
            parts.append([])
        parts[-1].append(job)
    made = sorted(itertools.chain(*groups.values()), key=lambda part: part[0].number)
    return [make_job_group(part, folder) for part in made]


def make_job_group(jobs: Sequence[Job], folder: Path, extra: tuple[str, ...] = ()) -> JobGroup:
    """A group with its own folder in `folder`, such as `3_layer-mlp_seed-0`."""
    name = JobGroup(tuple(jobs), folder).name
    return JobGroup(tuple(jobs), folder / folder_name(str(jobs[0].number), name.split()), extra)


def number_of(folder: Path) -> int | None:
    """The number of a group's first job, with which the name of its folder begins."""
    number = folder.name.partition("_")[0]
    return int(number) if number.isdecimal() else None
