"""The space of a search, written in Hydra's grammar of sweeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep

from kan_exp.errors import KanExpError, listing

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

Parse = Callable[[list[str]], list[Override]]


@dataclass(frozen=True)
class Categories:
    """One of several values without order."""

    choices: tuple[str, ...]

    def choose(self, trial: BaseTrial, name: str) -> str:
        return str(trial.suggest_categorical(name, self.choices))


@dataclass(frozen=True)
class Numbers:
    """A number between two, both included; an integer if they are."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    def choose(self, trial: BaseTrial, name: str) -> float:
        low, high, step = self.low, self.high, self.step
        if isinstance(low, int) and isinstance(high, int):
            return trial.suggest_int(name, low, high, step=int(step or 1), log=self.log)
        return trial.suggest_float(name, low, high, step=step, log=self.log)


@dataclass(frozen=True)
class Entry:
    """One option of the jobs."""

    option: str
    values: Categories | Numbers | str  # a text if there is one value
    condition: tuple[str, str] | None = None  # option and value without which it is not set

    @property
    def name(self) -> str:
        """Its name in the study: options with different conditions may share their key."""
        if self.condition is None:
            return self.option
        return f"{self.option} ({'='.join(self.condition)})"


@dataclass(frozen=True)
class Space:
    """Options in the order in which they are set."""

    entries: tuple[Entry, ...]  # one whose condition names another comes after it
    groups: Mapping[str, str]  # the choices of groups that no entry sets

    def choose(self, trial: BaseTrial) -> dict[str, str | float]:
        """The value of every option whose condition holds.

        Raises:
            ValueError: The trial has chosen from another space.
        """
        chosen: dict[str, str | float] = {}
        for entry in self.entries:
            if entry.condition is not None:
                option, wanted = entry.condition
                if str(chosen.get(option, self.groups.get(option))) != wanted:
                    continue
            values = entry.values
            chosen[entry.option] = (
                values if isinstance(values, str) else values.choose(trial, entry.name)
            )
        return chosen

    def overrides(self, chosen: Mapping[str, str | float]) -> list[str]:
        """The overrides of a job."""
        return [
            option if option.startswith("~") and value == "" else f"{option}={value}"
            for option, value in chosen.items()
        ]

    @property
    def searched(self) -> list[Entry]:
        """The options that are chosen anew for every job."""
        return [entry for entry in self.entries if not isinstance(entry.values, str)]


def read_space(
    params: Mapping[str, Any],
    only: Mapping[str, Mapping[str, Any]],
    arguments: Sequence[str],
    groups: Mapping[str, str],
    parse: Parse,
) -> Space:
    """Reads the space of a search.

    Args:
        params: Values of each option, such as `{"layer": "choice(mlp,spline)"}`.
        only: Options that are set with one choice only, by that choice:
            `{"layer=spline": {"layer.degree": "range(2,5)"}}`.
        arguments: Overrides on the command line, which replace both.
        groups: The choice of every group of configs.
        parse: Hydra's parser.
    """
    typed = {entry.option: entry for entry in _entries(arguments, None, parse)}
    entries = list(_entries([f"{name}={value}" for name, value in params.items()], None, parse))
    known = {*groups, *typed, *(entry.option for entry in entries)}
    for text, options in only.items():
        option, equals, value = str(text).partition("=")
        if not equals or option not in known:
            raise KanExpError(
                f"hydra.sweeper.only: {text!r} is no choice that a job can have made: write it as "
                f"in layer=spline, of an option that is set before. There are: {listing(known)}."
            )
        texts = [f"{name}={values}" for name, values in options.items()]
        entries += _entries(texts, (option, value), parse)
        known |= {entry.option for entry in entries}
    replaced = {entry.option for entry in entries}
    first = [entry for option, entry in typed.items() if option not in replaced]
    entries = [
        replace(typed[entry.option], condition=entry.condition) if entry.option in typed else entry
        for entry in entries
    ]
    space = Space((*first, *entries), groups)
    if not space.searched:
        raise KanExpError(
            "a search needs something to choose: name a space, as in search=layer_and_grid, or "
            "values, as in 'optimizer.lr=tag(log,interval(1e-4,1e-1))'."
        )
    return space


def _entries(texts: Sequence[str], condition: tuple[str, str] | None, parse: Parse) -> list[Entry]:
    return [
        Entry(override.get_key_element(), _values(override), condition)
        for override in parse(list(texts))
    ]


def _values(override: Override) -> Categories | Numbers | str:
    if override.is_delete() and override.value_type is None:
        return ""
    if not override.is_sweep_override():
        return override.get_value_element_as_str()
    sweep = override.value()
    tags = set(sweep.tags) if isinstance(sweep, Sweep) else set()
    if tags - {"log"}:
        raise KanExpError(f"{override.input_line}: a search knows no tag but log.")
    log = "log" in tags
    if isinstance(sweep, IntervalSweep):
        ends: tuple[Any, Any] = sweep.start, sweep.end
        numbers = Numbers(*ends, log=log)
    elif isinstance(sweep, RangeSweep):
        values: list[Any] = sorted(sweep.range())
        if not values:
            raise KanExpError(f"{override.input_line}: no number lies in this range.")
        numbers = Numbers(values[0], values[-1], abs(sweep.step), log)
    else:
        if log:
            raise KanExpError(f"{override.input_line}: tag(log) is for numbers between two.")
        return Categories(tuple(override.sweep_string_iterator()))
    if not numbers.low <= numbers.high or (log and numbers.low <= 0):
        raise KanExpError(
            f"{override.input_line}: the ends must rise{', from above 0 with tag(log)' * log}."
        )
    if log and numbers.step not in (None, 1):
        raise KanExpError(f"{override.input_line}: tag(log) goes with steps of 1 only.")
    return numbers
