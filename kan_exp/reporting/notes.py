"""What a reader must know before believing the tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kan_exp.errors import listing
from kan_exp.reporting.comparison import Comparison, Setting
from kan_exp.reporting.statistics import MIN_SEEDS
from kan_exp.runs.records import DONE, UNDONE

MAX_NAMED = 5


def make_notes(summary: Comparison) -> list[str]:
    """A line for each warning, none where there is nothing to say."""
    return [*_about_points(summary), *_about_runs(summary), *_about_seeds(summary)]


def _about_points(summary: Comparison) -> Iterator[str]:
    sections = summary.sections
    if len(sections) > 1:
        yield (
            f"These runs were scored on {len(sections)} different sets of test points: settings "
            f"are compared within each, never between them."
        )
    if any(section.part.test_points is None for section in sections):
        yield "Some runs do not record their test points: nothing shows that they are the same."


def _about_runs(summary: Comparison) -> Iterator[str]:
    """Those that do not count, and why."""
    found = summary.records
    states = Counter(record.state for record in found.records)
    for state in UNDONE:
        if states[state]:
            yield f"{_runs(states[state])} {state}: not in the medians, but in the order."
    if found.unreadable:
        shown = listing(found.unreadable, most=MAX_NAMED)
        yield f"{len(found.unreadable)} could not be read: {shown}."
    if summary.old:
        yield f"{_runs(len(summary.old))} of an older version without choices: only in the CSV."
    if summary.homeless:
        yield (
            f"{_runs(len(summary.homeless))} without a result could belong to several settings, or "
            f"to none that finished: in no setting's count."
        )
    if found.silent:
        yield f"{len(found.silent)} folders hold neither a state nor a result: left out."
    if found.repeated:
        yield f"{_runs(found.repeated)} repeat another, configuration and seed: left out."
    without = sum(
        record.state == DONE and summary.metric not in record.metrics
        for one in summary.settings
        for record in one.records
    )
    if without:
        yield f"{_runs(without)} finished without {summary.metric}: not in the medians."


def _about_seeds(summary: Comparison) -> Iterator[str]:
    """How far seeds, and the seconds they took, can be compared."""
    settings = summary.settings
    twice = [one.label for one in settings if _has_a_seed_twice(one)]
    if twice and not summary.asked:
        yield (
            f"Some seeds are there more than once, from runs that differ in something their "
            f"choices do not show: {listing(twice, most=MAX_NAMED)}."
        )
    few = sum(0 < len(one.values) < MIN_SEEDS for one in settings)
    if few and len(settings) > 1:
        yield f"{few} of {len(settings)} settings have fewer than {MIN_SEEDS} seeds."
    places = {record.place for one in settings for record in one.finished if record.place}
    if len(places) > 1:
        shown = listing((" with ".join(place) for place in sorted(places)), most=MAX_NAMED)
        yield f"Results and seconds come from different places: {shown}."
    if any(record.shared_by > 1 and record.seconds for one in settings for record in one.finished):
        yield "Seconds of seeds trained as one stack (*) are the stack's, divided by its seeds."


def _has_a_seed_twice(setting: Setting) -> bool:
    seeds = [record.seed for record in setting.finished if record.seed is not None]
    return len(set(seeds)) < len(seeds)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count:,} runs"
