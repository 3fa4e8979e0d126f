"""Numbers as they are shown."""

from __future__ import annotations

from kan_exp.plots.style import short_number
from kan_exp.reporting.comparison import Comparison, Section, Setting
from kan_exp.reporting.statistics import Effect, Interval

NOTHING = "\u2013"  # a dash


def number(value: float | None) -> str:
    """Three digits: 0.0123, 7.9e-5, 12000; a dash for nothing."""
    return NOTHING if value is None else short_number(float(f"{value:.3g}"))


def span(ends: Interval | tuple[float, float] | None) -> str:
    """An interval."""
    return NOTHING if ends is None else f"{number(ends[0])} to {number(ends[1])}"


def median(setting: Setting) -> str:
    """Of those that finished."""
    return number(None if setting.quartiles is None else setting.quartiles[1])


def ends(setting: Setting) -> str:
    """Best to worst."""
    if setting.best is None or setting.worst is None:
        return NOTHING
    return span((setting.best, setting.worst))


def quartiles(setting: Setting) -> str:
    """Lower to upper."""
    return span(None if setting.quartiles is None else setting.quartiles[::2])


def finished(setting: Setting) -> str:
    """How many count: 10, or 8 of 10."""
    count, every = len(setting.values), len(setting.records)
    return str(count) if count == every else f"{count} of {every}"


def undone(setting: Setting) -> str:
    """How the others ended: 1 failed, 1 diverged."""
    return ", ".join(f"{count} {state}" for state, count in setting.undone.items())


def effect(found: Effect | None) -> str:
    """Times, or difference, with its interval."""
    if found is None:
        return ""
    times = "\u00d7" if found.is_ratio else ""
    sign = "+" if not found.is_ratio and found.value > 0 else ""
    shown = f"{times}{sign}{number(found.value)}"
    return shown if found.interval is None else f"{shown} ({span(found.interval)})"


def seconds(setting: Setting) -> str:
    """Median seconds of a seed, marked where seeds of a stack share them."""
    shared = any(record.shared_by > 1 for record in setting.finished)
    mark = "*" if shared and setting.seconds is not None else ""
    return f"{number(setting.seconds)}{mark}"


def linear(summary: Comparison, section: Section) -> str:
    """How the settings of a section compare with the linear model; empty where it is unknown."""
    known = [one for one in section.settings if one.linear is not None]
    errors = sorted({number(one.linear) for one in known}, key=float)
    if not errors:
        return ""
    sign = -1 if summary.more_is_better else 1
    worse = sum(
        sign * one.quartiles[1] >= sign * one.linear
        for one in known
        if one.quartiles is not None and one.linear is not None
    )
    shown = " to ".join(dict.fromkeys((errors[0], errors[-1])))
    text = f"Linear model on the same data: {summary.metric} {shown}"
    if worse:
        text = f"{text}, not beaten by the median of {worse} of {len(known)} settings"
    return f"{text}."
