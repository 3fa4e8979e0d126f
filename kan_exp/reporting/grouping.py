"""Which runs are compared: settings, told apart by few choices, on the same test points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.runs.identity import is_setting
from kan_exp.runs.records import Record

MAIN = ("layer", "dims", "target", "data", "task", "optimizer", "scheduler", "steps", "batch_size")
ABSENT = "-"  # a choice that a run does not have, or that was left at its default
OF_SEEDS = "of each seed"  # in the place of a fingerprint, where the test points follow the seed

Name = tuple[str, ...]  # the values of a setting, in the order of the choices


@dataclass
class Cell:
    """The records of one setting on one set of test points."""

    name: Name
    records: list[Record] = field(default_factory=list)


@dataclass
class Part:
    """Settings that were scored on the same test points, and may be compared.

    Args:
        test_points: Their fingerprint, or `OF_SEEDS`; None where no run tells.
        keys: The choices that differ here.
        constants: Choices that differ between parts, but not here.
        cells: One for each setting; their names are the values of `keys`.
    """

    test_points: str | None
    keys: list[str]
    constants: dict[str, str]
    cells: list[Cell]


def differing(records: Sequence[Record]) -> list[str]:
    """The choices that tell settings apart, without those that follow from others.

    What was typed comes first, then the groups and numbers of a run, then options: if `layer` was
    chosen, the options that one kind of layer has and another does not say nothing more.
    """
    typed = dict.fromkeys(name for record in records for name in record.typed)
    options = sorted({name for record in records for name in record.choices})
    keys: list[str] = []
    classes = [0] * len(records)
    for name in dict.fromkeys([*typed, *MAIN, *options]):
        values = [_value(record, name) for record in records]
        pairs = list(zip(classes, values, strict=True))
        known = {pair for pair in set(pairs) if pair[1] is not None}
        if len(known) > len({number for number, _ in known}):  # a class has two values of it
            keys.append(name)
            numbers = {pair: number for number, pair in enumerate(dict.fromkeys(pairs))}
            classes = [numbers[pair] for pair in pairs]
    return keys


def _value(record: Record, name: str) -> str | None:
    """A record's choice; None where a run without a result does not tell."""
    return record.choices.get(name, ABSENT if record.complete else None)


def check_keys(asked: Sequence[str], records: Sequence[Record]) -> list[str]:
    """The choices by which the user wants to group.

    Raises:
        KanExpError: One of them is no choice of any run.
    """
    known = sorted({name for record in records for name in record.choices})
    for name in asked:
        if not is_setting(name):
            raise KanExpError(f"group_by: {name} is not a setting: its runs are what is summed up.")
        if name not in known:
            raise KanExpError(
                f"group_by: no run has a choice {name!r}.{suggest(name, known)} "
                f"Choose from: {listing(known, most=30)}."
            )
    return list(dict.fromkeys(asked))


def divide(records: Sequence[Record], keys: Sequence[str]) -> tuple[list[Part], list[Record]]:
    """Puts each record with those of its setting and of its test points.

    A run without a result tells neither its test points nor the choices it left at their defaults:
    it is counted with the one setting that fits what was typed, or as one of its own.

    Returns:
        The parts, and the records that fit no setting, or several.
    """
    cells: dict[tuple[str | None, Name], Cell] = {}
    by_name: dict[Name, list[Cell]] = {}

    def add(record: Record, points: str | None, name: Name) -> None:
        if (points, name) not in cells:
            cells[points, name] = Cell(name)
            by_name.setdefault(name, []).append(cells[points, name])
        cells[points, name].records.append(record)

    scored = _points(records, keys)
    for record in records:
        if record.complete:
            add(record, scored[id(record)], _name(record, keys))
    settled = {name: list(found) for name, found in by_name.items()}
    # What decides the points; where a setting has no result, its points are told by these.
    data = [n for n, key in enumerate(keys) if key.partition(".")[0] in ("target", "data")]
    points: dict[Name, set[str | None]] = {}
    for where, name in cells:
        points.setdefault(tuple(name[n] for n in data), set()).add(where)
    homeless = []
    for record in records:
        if record.complete:
            continue
        own = [_value(record, key) for key in keys]
        name = tuple(str(value) for value in own)
        named = None not in own
        fits = settled.get(name, []) if named else [c for found in settled.values() for c in found]
        if len(fits) > 1 or not named:
            fits = [cell for cell in fits if _fits(record, cell)]
        if len(fits) == 1:
            fits[0].records.append(record)
            continue
        likely = points.get(tuple(name[n] for n in data), set())
        if named and name not in settled and len(likely) == 1:
            add(record, next(iter(likely)), name)
        else:
            homeless.append(record)
    return _parts(cells, keys), homeless


def _name(record: Record, keys: Sequence[str]) -> Name:
    return tuple(str(_value(record, key)) for key in keys)


def _points(records: Sequence[Record], keys: Sequence[str]) -> dict[int, str | None]:
    """On which test points each record with a result was scored.

    By `data.seed=${seed}` each seed has points of its own. Such settings can be compared if the
    same seeds have the same points.
    """
    scored = {id(record): record.test_points for record in records if record.complete}
    following: dict[Name, list[Record]] = {}
    for record in records:
        if record.complete and any("${" in value for value in record.choices.values()):
            following.setdefault(_name(record, keys), []).append(record)
    sets: list[dict[int | None, str | None]] = []  # seed -> points
    for own in sorted(following.values(), key=lambda own: -len({r.test_points for r in own})):
        points = {record.seed: record.test_points for record in own}
        fixed = len(set(points.values())) == 1  # and would fit to other seeds by chance
        alike = [
            number
            for number, known in enumerate(sets)
            if {**points, **known} == {**known, **points}
            and not (fixed and points.keys() - known.keys())
        ]
        if not fixed and not alike:
            alike = [len(sets)]
            sets.append({})
        for number in alike[:1]:
            label = OF_SEEDS if number == 0 else f"{OF_SEEDS}, {number + 1}"
            scored.update(dict.fromkeys(map(id, own), label))
            sets[number].update(points)
    return scored


def _fits(record: Record, cell: Cell) -> bool:
    """Whether nothing that was typed for a record speaks against one of a setting's runs."""
    return any(
        all(_value(other, name) == _value(record, name) for name in record.choices)
        for other in cell.records
        if other.complete
    )


def _parts(cells: Mapping[tuple[str | None, Name], Cell], keys: Sequence[str]) -> list[Part]:
    by_points: dict[str | None, list[Cell]] = {}
    for (points, _), cell in cells.items():
        by_points.setdefault(points, []).append(cell)
    parts = []
    for points, own in by_points.items():
        fixed = [len({cell.name[n] for cell in own}) == 1 for n in range(len(keys))]
        # With a single part and a single setting there is nothing else to call it by.
        here = [n for n in range(len(keys)) if not fixed[n] or len(by_points) == 1]
        constants = {key: own[0].name[n] for n, key in enumerate(keys) if n not in here}
        shown = [Cell(tuple(cell.name[n] for n in here), cell.records) for cell in own]
        parts.append(Part(points, [keys[n] for n in here], constants, shown))
    return parts
