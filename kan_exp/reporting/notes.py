"""Notes on what a report's tables do not show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kan_exp.errors import listing
from kan_exp.reporting.comparison import Comparison
from kan_exp.reporting.statistics import MIN_SEEDS
from kan_exp.runs.printable import counted
from kan_exp.runs.records import DONE, UNDONE

MAX_NAMED = 5


def make_notes(comparison: Comparison) -> list[str]:
    """A line for each warning."""
    return [*_about_points(comparison), *_about_runs(comparison), *_about_seeds(comparison)]


def _about_points(comparison: Comparison) -> Iterator[str]:
    sections = comparison.sections
    if len(sections) > 1:
        yield (
            f"These runs were scored on {len(sections)} different sets of test points: settings "
            f"are compared within each, never between them."
        )
    if any(section.part.test_points is None for section in sections):
        yield "Some runs do not record their test points: nothing shows that they are the same."


def _about_runs(comparison: Comparison) -> Iterator[str]:
    """Runs that do not count, and why."""
    records = comparison.records
    states = Counter(record.state for record in records.records)
    for state in UNDONE:
        if states[state]:
            yield f"{counted(states[state], 'run')} {state}: not in the medians, but in the order."
    if records.unreadable:
        shown = listing(records.unreadable, most=MAX_NAMED)
        yield f"{len(records.unreadable)} could not be read: {shown}."
    if comparison.old:
        old = counted(len(comparison.old), "run")
        yield f"{old} of an older version without choices: only in the CSV."
    if comparison.unassigned:
        yield (
            f"{counted(len(comparison.unassigned), 'run')} without a result could belong to "
            f"several settings, or to none that finished: in no setting's count."
        )
    if records.silent:
        yield f"{len(records.silent)} folders hold neither a state nor a result: left out."
    if records.repeated:
        again = counted(records.repeated, "run")
        yield f"{again} repeat another, configuration and seed: left out."
    without = sum(
        record.state == DONE and comparison.metric not in record.metrics
        for setting in comparison.settings
        for record in setting.records
    )
    if without:
        yield f"{counted(without, 'run')} finished without {comparison.metric}: not in the medians."


def _about_seeds(comparison: Comparison) -> Iterator[str]:
    """Whether seeds and their seconds can be compared."""
    settings = comparison.settings
    finished = [record for setting in settings for record in setting.finished]
    twice = []
    for setting in settings:
        seeds = [record.seed for record in setting.finished if record.seed is not None]
        if len(set(seeds)) < len(seeds):
            twice.append(setting.label)
    if twice and not comparison.asked:
        yield (
            f"Some seeds occur more than once, in runs that differ in options which are not "
            f"recorded as choices: {listing(twice, most=MAX_NAMED)}."
        )
    few = sum(0 < len(setting.values) < MIN_SEEDS for setting in settings)
    if few and len(settings) > 1:
        yield f"{few} of {len(settings)} settings have fewer than {MIN_SEEDS} seeds."
    environments = {record.environment for record in finished if record.environment}
    if len(environments) > 1:
        shown = listing((" with ".join(each) for each in sorted(environments)), most=MAX_NAMED)
        yield f"Results and seconds come from different devices or versions: {shown}."
    if any(record.shared_by > 1 and record.seconds for record in finished):
        yield "Seconds of seeds trained as one stack (*) are the stack's, divided by its seeds."
