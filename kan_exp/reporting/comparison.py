"""From records to what is reported: settings summed up over seeds, in order, with every warning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.reporting.grouping import (
    OF_SEEDS,
    Cell,
    Name,
    Part,
    check_keys,
    differing,
    divide,
)
from kan_exp.reporting.statistics import Bootstrap, Effect, Interval, Sample, Values
from kan_exp.runs.records import DONE, UNDONE, Record, Records
from kan_exp.tasks import METRICS, OLD_SCORING
from kan_exp.tasks.metrics import TEST, higher_is_better, linear_of, standard_error_of


@dataclass
class Setting:
    """One setting with its seeds.

    Numbers are of the runs that finished and have the metric; None where none did.

    Args:
        name: The values of the section's keys.
        records: All its records.
        finished: Those that count.
        sample: Their metric, `(finished,)`, by seed.
        quartiles: Lower, median, upper.
        interval: Of the median.
        effect: Against the first setting of its section; None for the first itself.
        standard_error: Of one run's metric, over the draw of its test points; median over seeds.
        linear: The same metric of the linear model on the same split; median over seeds.
    """

    name: Name
    records: list[Record]
    finished: list[Record]
    sample: Sample
    best: float | None = None
    worst: float | None = None
    quartiles: tuple[float, float, float] | None = None
    interval: Interval | None = None
    effect: Effect | None = None
    standard_error: float | None = None
    linear: float | None = None

    @property
    def values(self) -> Values:
        """The metric of those that count, `(finished,)`."""
        return self.sample.values

    @property
    def label(self) -> str:
        """Its values in one line."""
        return " · ".join(self.name) or "all runs"

    @property
    def undone(self) -> dict[str, int]:
        """How many ended in each other way."""
        states = Counter(record.state for record in self.records)
        return {state: states[state] for state in UNDONE if states[state]}

    @property
    def parameters(self) -> float | None:
        """Median number of parameters."""
        return _median([record.metrics.get("parameters") for record in self.finished])

    @property
    def seconds(self) -> float | None:
        """Median seconds of training a seed."""
        return _median([record.seconds for record in self.finished])

    @property
    def verdict(self) -> str:
        """What the seeds let one say against the first setting."""
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
        """What sets it apart from other sections."""
        points = self.part.test_points
        shown = points if points is None or points.startswith(OF_SEEDS) else points[:8]
        where = "test points not recorded" if points is None else f"test points {shown}"
        fixed = [f"{name}={value}" for name, value in self.part.constants.items()]
        return ", ".join([*fixed, where])

    @property
    def has_standard_errors(self) -> bool:
        """Whether the metric has one, and any run has it."""
        return any(one.standard_error is not None for one in self.settings)


@dataclass
class Comparison:
    """All that a report shows.

    Args:
        metric: By which runs are compared.
        keys: The choices that tell settings apart.
        asked: Whether the user has named them.
        sections: One for each set of test points.
        records: Everything that was found.
        homeless: Runs without a result that belong to no setting.
        old: Results without choices, which belong to none either.
    """

    metric: str
    keys: list[str]
    asked: bool
    sections: list[Section]
    records: Records
    homeless: list[Record]
    old: list[Record]

    @property
    def more_is_better(self) -> bool:
        """Whether the largest value of the metric is the best."""
        return higher_is_better(self.metric)

    @property
    def settings(self) -> list[Setting]:
        """Those of all sections."""
        return [one for section in self.sections for one in section.settings]


def compare_runs(
    records: Records, metric: str | None, group_by: Sequence[str] | None, bootstrap: Bootstrap
) -> Comparison:
    """Groups, sums up, compares and orders.

    Raises:
        KanExpError: No run has the metric or records its choices, or `group_by` names none.
    """
    every = records.records
    metric = _primary(every) if metric is None else metric
    _check_metric(metric, every)
    old = [record for record in every if record.metrics and not record.complete]
    known = [record for record in every if record.complete or not record.metrics]
    if not any(record.metrics for record in known):
        raise KanExpError("the runs that finished are of an older version and record no choices.")
    keys = differing(known) if group_by is None else check_keys(group_by, known)
    parts, homeless = divide(known, keys)
    summary = Comparison(metric, keys, group_by is not None, [], records, homeless, old)
    for part in parts:
        settings = [_sum_up(cell, metric, bootstrap) for cell in part.cells]
        settings.sort(key=lambda one: _rank(one, summary.more_is_better))
        _compare(settings, summary.more_is_better)
        summary.sections.append(Section(part, settings))
    summary.sections.sort(key=lambda one: (one.part.test_points is None, one.title))
    return summary


def _primary(records: Sequence[Record]) -> str:
    """The primary metric, on the test points, of most runs that finished."""
    known = [one.primary for one in records if one.metrics and one.primary in METRICS]
    found = Counter(filter(None, known)).most_common(1)
    return TEST + (found[0][0] if found else OLD_SCORING["primary"])


def _check_metric(metric: str, records: Sequence[Record]) -> None:
    known = sorted({name for record in records for name in record.metrics})
    if metric in known:
        return
    if not known:
        raise KanExpError("no run has finished yet: there is nothing to compare.")
    raise KanExpError(
        f"metric={metric}: no run has it.{suggest(metric, known)} "
        f"Choose from: {listing(known, most=30)}."
    )


def _sum_up(cell: Cell, metric: str, bootstrap: Bootstrap) -> Setting:
    finished = [r for r in cell.records if r.state == DONE and metric in r.metrics]
    finished.sort(key=lambda r: (r.seed is None, r.seed or 0, str(r.folder)))
    values = np.array([record.metrics[metric] for record in finished], dtype=np.float64)
    setting = Setting(cell.name, cell.records, finished, Sample(values, bootstrap))
    if len(values):
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        setting.quartiles = (low, middle, high)
        ends = float(values.min()), float(values.max())
        setting.best, setting.worst = ends if not higher_is_better(metric) else ends[::-1]
        setting.interval = setting.sample.interval
    setting.standard_error = _median_of(finished, standard_error_of(metric))
    setting.linear = _median_of(finished, linear_of(metric))
    return setting


def _median_of(records: Sequence[Record], metric: str | None) -> float | None:
    return None if metric is None else _median([one.metrics.get(metric) for one in records])


def _rank(setting: Setting, more_is_better: bool) -> tuple[float, float, Name]:
    """By the median of all runs, in which one that did not finish is worse than all that did."""
    sign = -1.0 if more_is_better else 1.0
    values = np.full(len(setting.records), np.inf)
    values[: len(setting.values)] = np.sort(sign * setting.values)
    values.sort()
    # The upper of two middle values: half of the runs unfinished is infinitely bad.
    median = float(values[len(values) // 2])
    if len(values) % 2 == 0 and np.isfinite(median):
        median = float(values[len(values) // 2 - 1 : len(values) // 2 + 1].mean())
    own = sign * setting.quartiles[1] if setting.quartiles else np.inf
    return (median, float(own), setting.name)


def _compare(settings: Sequence[Setting], more_is_better: bool) -> None:
    """Holds each setting against the first, if that has any result."""
    if not settings or not len(settings[0].values):
        return
    first = settings[0]
    is_ratio = not more_is_better and all((one.values > 0).all() for one in settings)
    for other in settings[1:]:
        if len(other.values):
            paired = same_seeds(first.finished, other.finished)
            other.effect = other.sample.against(first.sample, paired, is_ratio)


def same_seeds(first: Sequence[Record], other: Sequence[Record]) -> bool:
    """Whether two settings have the same seeds, each once, in the same order."""
    seeds = [record.seed for record in first]
    return (
        None not in seeds
        and len(set(seeds)) == len(seeds)
        and seeds == [record.seed for record in other]
    )


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None
