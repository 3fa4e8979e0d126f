"""The columns of a report's table, the same on the page and on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

from kan_exp.plots.style import short_number
from kan_exp.reporting.comparison import Comparison, Section, Setting
from kan_exp.reporting.statistics import Effect
from kan_exp.tasks.metrics import to_minimize

NOTHING = "\u2013"  # a dash
PARAMETERS = "parameters"


class Value(NamedTuple):
    """What a table shows of a setting, with a note below, which may be about a failure."""

    text: str
    note: str = ""
    is_bad: bool = False


class Column(NamedTuple):
    heading: str
    value: Callable[[Setting], Value]
    kind: Literal["choice", "text", "number"] = "number"


def columns(section: Section) -> list[Column]:
    """All columns of a section's table."""
    # Each choice has a column.
    choices = [
        Column(key, lambda setting, n=n: Value(setting.name[n]), "choice")  # type: ignore[misc]
        for n, key in enumerate(section.part.keys)
    ]
    errors = [Column("std. error", lambda setting: Value(number(setting.standard_error)))]
    return [
        *(choices or [Column("setting", lambda setting: Value(setting.label), "choice")]),
        Column("seeds", _seeds),
        Column("median", _median),
        *(errors if section.has_standard_errors else []),
        Column("quartiles", lambda setting: Value(span(setting.quartiles))),
        Column("best to worst", lambda setting: Value(span((setting.best, setting.worst)))),
        Column("against the first", _against_first, "text"),
        Column(PARAMETERS, _parameters),
        Column("seconds", _seconds),
    ]


def number(value: float | None) -> str:
    """Three digits, such as 0.0123, 7.9e-5 and 12000; a dash for None."""
    return NOTHING if value is None else short_number(float(f"{value:.3g}"))


def span(values: tuple[float | None, ...] | None) -> str:
    """The first and the last of some values; a dash if there are none."""
    if values is None or values[0] is None:
        return NOTHING
    return f"{number(values[0])} to {number(values[-1])}"


def _seeds(setting: Setting) -> Value:
    count, total = len(setting.values), len(setting.records)
    text = str(count) if count == total else f"{count} of {total}"
    undone = [f"{number} {state}" for state, number in setting.undone.items()]
    return Value(text, ", ".join(undone), is_bad=True)


def _median(setting: Setting) -> Value:
    interval = setting.sample.interval
    return Value(number(setting.median), "" if interval is None else span(interval))


def _against_first(setting: Setting) -> Value:
    effect = setting.effect
    paired = ", paired" if effect and effect.paired else ""
    return Value(effect_text(effect) if effect else "", (setting.verdict or "the first") + paired)


def effect_text(effect: Effect) -> str:
    """The ratio or the difference, with its interval."""
    sign = "\u00d7" if effect.is_ratio else "+" if effect.value > 0 else ""
    text = f"{sign}{number(effect.value)}"
    return text if effect.interval is None else f"{text} ({span(effect.interval)})"


def _parameters(setting: Setting) -> Value:
    return Value(NOTHING if setting.parameters is None else f"{setting.parameters:,.0f}")


def _seconds(setting: Setting) -> Value:
    """Median seconds of a seed, marked if seeds of a stack share them."""
    shared = any(record.shared_by > 1 for record in setting.finished)
    mark = "*" if shared and setting.seconds is not None else ""
    return Value(f"{number(setting.seconds)}{mark}")


def linear_text(comparison: Comparison, section: Section) -> str:
    """The settings of a section compared with the linear model; empty if it is unknown."""
    known = [(s.median, s.linear) for s in section.settings if s.linear is not None]
    if not known:
        return ""
    errors = sorted({number(linear) for _, linear in known}, key=float)
    better = partial(to_minimize, comparison.metric)
    worse = sum(m is not None and better(m) >= better(linear) for m, linear in known)
    shown = " to ".join(dict.fromkeys((errors[0], errors[-1])))
    beaten = f", not beaten by the median of {worse} of {len(known)} settings" if worse else ""
    return f"Linear model on the same data: {comparison.metric} {shown}{beaten}."
