"""Summarizes records of runs over their seeds; compares and sorts the settings."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.reporting.grouping import (
    OF_SEEDS,
    Name,
    Part,
    checked_keys,
    group_records,
    varying_choices,
)
from kan_exp.reporting.statistics import Bootstrap, Effect, Sample, Values
from kan_exp.runs.records import DONE, UNDONE, Record, Records
from kan_exp.tasks import METRICS, OLD_SCORING
from kan_exp.tasks.metrics import (
    TEST,
    higher_is_better,
    linear_of,
    standard_error_of,
    to_minimize,
)


@dataclass
class Setting:
    """One setting with its seeds.

    Numbers are of the runs that finished and have the metric; None if no run has.
    """

    name: Name  # the values of the section's keys
    records: list[Record]
    finished: list[Record]  # those that count, by seed
    sample: Sample  # their metric
    best: float | None = None
    worst: float | None = None
    quartiles: tuple[float, float, float] | None = None  # lower, median, upper
    effect: Effect | None = None  # compared with the first setting of the section
    standard_error: float | None = None  # of one run, over its test points; median over seeds
    linear: float | None = None  # metric of the linear model on the same split; median over seeds

    @property
    def values(self) -> Values:
        return self.sample.values

    @property
    def median(self) -> float | None:
        return None if self.quartiles is None else self.quartiles[1]

    @property
    def label(self) -> str:
        return " · ".join(self.name) or "all runs"

    @property
    def undone(self) -> dict[str, int]:
        """Number of runs in each state but done."""
        states = Counter(record.state for record in self.records)
        return {state: states[state] for state in UNDONE if states[state]}

    @property
    def parameters(self) -> float | None:
        return _median(record.metrics.get("parameters") for record in self.finished)

    @property
    def seconds(self) -> float | None:
        return _median(record.seconds for record in self.finished)

    @property
    def verdict(self) -> str:
        """Whether it differs from the first setting, as far as the seeds show."""
        if self.effect is None:
            return "" if len(self.values) else "none finished"
        if self.effect.interval is None:
            return "too few seeds to tell"
        return "visible difference" if self.effect.visible else "no difference visible"


@dataclass
class Section:
    """Settings on the same test points, the best first."""

    part: Part
    settings: list[Setting]

    @property
    def title(self) -> str:
        """Its constant choices and its test points."""
        points = self.part.test_points
        shown = points if points is None or points.startswith(OF_SEEDS) else points[:8]
        where = "test points not recorded" if points is None else f"test points {shown}"
        fixed = [f"{name}={value}" for name, value in self.part.constants.items()]
        return ", ".join([*fixed, where])

    @property
    def has_standard_errors(self) -> bool:
        return any(setting.standard_error is not None for setting in self.settings)


@dataclass
class Comparison:
    """The content of a report."""

    metric: str  # by which runs are compared
    keys: list[str]  # the choices that distinguish settings
    asked: bool  # whether the user has named them
    sections: list[Section]  # one for each set of test points
    records: Records
    unassigned: list[Record]  # runs without a result that fit no setting, or several
    old: list[Record]  # results without choices, which belong to no setting either

    @property
    def settings(self) -> list[Setting]:
        return [setting for section in self.sections for setting in section.settings]


def compare_runs(
    records: Records, metric: str | None, group_by: Sequence[str] | None, bootstrap: Bootstrap
) -> Comparison:
    """Groups records into settings, which it compares and sorts.

    Args:
        records: Of all runs.
        metric: None for the primary metric on the test points.
        group_by: Choices that distinguish settings; None for all that differ.
        bootstrap: For the intervals.
    """
    all_records = records.records
    if metric is None:  # that of most runs
        names = Counter(r.primary for r in all_records if r.metrics and r.primary in METRICS)
        name = next((name for name, _ in names.most_common(1)), None)
        metric = TEST + (name or OLD_SCORING["primary"])
    _check_metric(metric, all_records)
    old = [record for record in all_records if record.metrics and not record.complete]
    known = [record for record in all_records if record.complete or not record.metrics]
    if not any(record.metrics for record in known):
        raise KanExpError("the runs that finished are of an older version and record no choices.")
    keys = varying_choices(known) if group_by is None else checked_keys(group_by, known)
    parts, unassigned = group_records(known, keys)
    sections = []
    for part in parts:
        settings = [_summarized(*group, metric, bootstrap) for group in part.settings.items()]
        settings.sort(key=lambda setting: _sort_key(setting, metric))
        _compare(settings, metric)
        sections.append(Section(part, settings))
    sections.sort(key=lambda section: (section.part.test_points is None, section.title))
    return Comparison(metric, keys, group_by is not None, sections, records, unassigned, old)


def _check_metric(metric: str, records: Sequence[Record]) -> None:
    known = sorted({name for record in records for name in record.metrics})
    if not known:
        raise KanExpError("no run has finished yet: there is nothing to compare.")
    if metric not in known:
        raise KanExpError(
            f"metric={metric}: no run has it.{suggest(metric, known)} "
            f"Choose from: {listing(known, most=30)}."
        )


def _summarized(name: Name, records: list[Record], metric: str, bootstrap: Bootstrap) -> Setting:
    finished = [r for r in records if r.state == DONE and metric in r.metrics]
    finished.sort(key=lambda r: (r.seed is None, r.seed or 0, str(r.folder)))
    values = np.array([record.metrics[metric] for record in finished], dtype=np.float64)
    setting = Setting(name, records, finished, Sample(values, bootstrap))
    error, linear = standard_error_of(metric) or "", linear_of(metric) or ""
    setting.standard_error = _median(record.metrics.get(error) for record in finished)
    setting.linear = _median(record.metrics.get(linear) for record in finished)
    if len(values):
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        setting.quartiles = (low, middle, high)
        ends = float(values.min()), float(values.max())
        setting.best, setting.worst = ends[::-1] if higher_is_better(metric) else ends
    return setting


def _sort_key(setting: Setting, metric: str) -> tuple[float, float, Name]:
    """The median of all runs, of which those that did not finish are infinitely bad."""
    values = np.full(len(setting.records), np.inf)
    values[: len(setting.values)] = to_minimize(metric, setting.values)
    own = np.inf if setting.median is None else to_minimize(metric, setting.median)
    return statistics.median(values.tolist()), own, setting.name


def _compare(settings: Sequence[Setting], metric: str) -> None:
    """Compares each setting with the first, if that has any result."""
    if not settings or not len(settings[0].values):
        return
    first = settings[0]
    is_positive = all((setting.values > 0).all() for setting in settings)
    is_ratio = is_positive and not higher_is_better(metric)
    for other in settings[1:]:
        if len(other.values):
            paired = same_seeds(first.finished, other.finished)
            other.effect = other.sample.against(first.sample, paired, is_ratio)


def same_seeds(first: Sequence[Record], other: Sequence[Record]) -> bool:
    """Whether two settings have the same seeds, each once, in the same order."""
    seeds = [record.seed for record in first]
    is_once = None not in seeds and len(set(seeds)) == len(seeds)
    return is_once and seeds == [record.seed for record in other]


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(statistics.median(known)) if known else None
