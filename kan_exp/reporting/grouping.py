"""Settings that are compared: distinguished by few choices, on the same test points."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.runs.identity import is_setting
from kan_exp.runs.records import Record

MAIN = ("layer", "dims", "target", "data", "task", "optimizer", "scheduler", "steps", "batch_size")
ABSENT = "-"  # a choice that a run does not have, or that was left at its default
OF_SEEDS = "of each seed"  # in the place of a fingerprint, if the test points follow the seed

Name = tuple[str, ...]  # the values of a setting, in the order of the choices
Groups = dict[tuple[str | None, Name], list[Record]]  # by test points and setting


@dataclass
class Part:
    """Settings that were scored on the same test points and can be compared."""

    test_points: str | None  # their fingerprint, or `OF_SEEDS`; None if no run records it
    keys: list[str]  # the choices that differ here
    constants: dict[str, str]  # choices that differ between parts, but not here
    settings: dict[Name, list[Record]]  # their records, by the values of `keys`


def varying_choices(records: Sequence[Record]) -> list[str]:
    """The choices that distinguish settings, without those that follow from others.

    Typed choices come first, then groups and numbers of a run, then options: if `layer` was chosen,
    the options of one kind of layer add nothing.
    """
    typed = dict.fromkeys(name for record in records for name in record.typed)
    options = sorted({name for record in records for name in record.choices})
    keys: list[str] = []
    classes = [0] * len(records)  # the records that no key distinguishes have one number
    for name in dict.fromkeys([*typed, *MAIN, *options]):
        pairs = [(n, _value(record, name)) for n, record in zip(classes, records, strict=True)]
        known = {pair for pair in pairs if pair[1] is not None}
        if len(known) > len({number for number, _ in known}):  # a class has two values of it
            keys.append(name)
            numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
            classes = [numbers[pair] for pair in pairs]
    return keys


def _value(record: Record, name: str) -> str | None:
    """A record's choice; None if it is unknown because the run has no result."""
    return record.choices.get(name, ABSENT if record.complete else None)


def _name(record: Record, keys: Sequence[str]) -> Name:
    return tuple(str(_value(record, key)) for key in keys)


def checked_keys(asked: Sequence[str], records: Sequence[Record]) -> list[str]:
    """The choices by which the user wants to group; refuses what is no choice of any run."""
    known = sorted({name for record in records for name in record.choices})
    for name in asked:
        if not is_setting(name):
            raise KanExpError(f"group_by: {name} does not distinguish settings: leave it out.")
        if name not in known:
            raise KanExpError(
                f"group_by: no run has a choice {name!r}.{suggest(name, known)} "
                f"Choose from: {listing(known, most=30)}."
            )
    return list(dict.fromkeys(asked))


def group_records(
    records: Sequence[Record], keys: Sequence[str]
) -> tuple[list[Part], list[Record]]:
    """Puts each record into the group of its setting and its test points.

    A run without a result records neither its test points nor the choices it left at their
    defaults. It joins the one setting that fits its typed choices, or begins a setting.

    Returns:
        The parts, and the records that fit no setting, or several.
    """
    groups: Groups = {}
    test_points = _test_points(records, keys)
    for record in records:
        if record.complete:
            groups.setdefault((test_points[id(record)], _name(record, keys)), []).append(record)
    # The choices that decide the test points, for settings without a result.
    data = [n for n, key in enumerate(keys) if key.partition(".")[0] in ("target", "data")]
    with_result: dict[Name, list[list[Record]]] = {}
    points_of: dict[Name, set[str | None]] = {}
    for (points, name), group in groups.items():
        with_result.setdefault(name, []).append(group)
        points_of.setdefault(tuple(name[n] for n in data), set()).add(points)
    unassigned = []
    for record in records:
        if record.complete:
            continue
        name = _name(record, keys)
        has_all_keys = all(_value(record, key) is not None for key in keys)
        every = list(itertools.chain.from_iterable(with_result.values()))
        candidates = with_result.get(name, []) if has_all_keys else every
        if len(candidates) > 1 or not has_all_keys:
            candidates = [group for group in candidates if _fits(record, group)]
        possible = points_of.get(tuple(name[n] for n in data), set())
        if len(candidates) == 1:
            candidates[0].append(record)
        elif has_all_keys and name not in with_result and len(possible) == 1:
            groups.setdefault((next(iter(possible)), name), []).append(record)
        else:
            unassigned.append(record)
    return _parts(groups, keys), unassigned


def _test_points(records: Sequence[Record], keys: Sequence[str]) -> dict[int, str | None]:
    """The test points of each record with a result, by its id.

    With `data.seed=${seed}` each seed has its own. Such settings can be compared if equal seeds
    have equal points.
    """
    labels = {id(record): record.test_points for record in records if record.complete}
    following: dict[Name, list[Record]] = {}
    for record in records:
        if record.complete and any("${" in value for value in record.choices.values()):
            following.setdefault(_name(record, keys), []).append(record)
    sets: list[dict[int | None, str | None]] = []  # seed -> points
    for members in sorted(following.values(), key=lambda own: -len({r.test_points for r in own})):
        points = {record.seed: record.test_points for record in members}
        is_constant = len(set(points.values())) == 1  # would fit to other seeds by chance
        matching = [
            number
            for number, known in enumerate(sets)
            if {**points, **known} == {**known, **points}
            and not (is_constant and points.keys() - known.keys())
        ]
        if not is_constant and not matching:
            matching = [len(sets)]
            sets.append({})
        for number in matching[:1]:
            label = OF_SEEDS if number == 0 else f"{OF_SEEDS}, {number + 1}"
            labels.update(dict.fromkeys(map(id, members), label))
            sets[number].update(points)
    return labels


def _fits(record: Record, group: Sequence[Record]) -> bool:
    """Whether a record has the choices of one of the group's runs, as far as it has any."""
    return any(
        all(_value(other, name) == _value(record, name) for name in record.choices)
        for other in group
        if other.complete
    )


def _parts(groups: Groups, keys: Sequence[str]) -> list[Part]:
    by_points: dict[str | None, dict[Name, list[Record]]] = {}
    for (points, name), group in groups.items():
        by_points.setdefault(points, {})[name] = group
    parts = []
    for points, own in by_points.items():
        values = dict(zip(keys, zip(*own, strict=True), strict=True)) if keys else {}
        # A single part keeps all keys: a single setting would have no name without them.
        fixed = [key for key in keys if len({*values[key]}) == 1 and len(by_points) > 1]
        varying = [n for n, key in enumerate(keys) if key not in fixed]
        settings = {tuple(name[n] for n in varying): group for name, group in own.items()}
        constants = {key: values[key][0] for key in fixed}
        parts.append(Part(points, [keys[n] for n in varying], constants, settings))
    return parts
