"""Units of columns, which pint reads, as the dimensions that the search takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

from kan_exp.data.columns import by_column
from kan_exp.errors import KanExpError, listing, message_of, suggest
from kan_exp.symbolic.dimensions import Dimension, Dimensions

SAME = 1e-9  # relative difference of equal scales


@dataclass(frozen=True)
class Units:
    """Units of a formula's inputs and of its target."""

    given: Mapping[str, str]  # as the user wrote them, by the names of inputs and of the target
    dimensions: Dimensions  # of the inputs and of the target
    base: tuple[str, ...]  # units of the base dimensions in which units of constants are written
    notes: tuple[str, ...] = ()  # lines about their limits

    def text(self, dimension: Dimension) -> str:
        """A unit such as `kg*m**2/s`; empty for a number without one."""
        parts = list(zip(self.base, dimension, strict=True))
        above = [_factor(unit, power) for unit, power in parts if power > 0]
        below = [_factor(unit, -power) for unit, power in parts if power < 0]
        if not below:
            return "*".join(above)
        return "/".join(["*".join(above) or "1", *below])


def _factor(unit: str, power: Fraction) -> str:
    if power == 1:
        return unit
    return f"{unit}**{power}" if power.denominator == 1 else f"{unit}**({power})"


def check_units(units: Any, known: Iterable[str], option: str = "units") -> dict[str, str]:
    """Checks units by the names of columns.

    Args:
        units: Such as `{"m": "kg", "v": "m/s"}`; none if None.
        known: Names of the columns.
        option: Where the user wrote them, for messages.

    Raises:
        KanExpError: A column is not known, a unit is none that pint knows, or pint is missing.
    """
    if units is None:
        return {}
    units = by_column(units, option)
    if not isinstance(units, Mapping):
        raise KanExpError(
            f"{option} must be units by column, such as {{m: kg, v: m/s}}, got {units!r}."
        )
    known = list(known)
    given = {str(name): str(unit) for name, unit in units.items() if unit is not None}
    for name, unit in given.items():
        if name not in known:
            raise KanExpError(
                f"{option}: there is no column {name!r} among {listing(known)}."
                f"{suggest(name, known)}"
            )
        _parsed(name, unit, option)
    return given


def read_units(
    units: Mapping[str, str], names: Sequence[str], target: str | None, scale: str = ""
) -> Units | None:
    """The units of a formula, from those of columns; None if none of them is known.

    Args:
        units: By column, as `check_units` returns them; columns that the formula has not are left
            out.
        names: Of the formula's inputs.
        target: Column of the target; None if the target is a number without a unit.
        scale: On which the target is, see `kan_exp.data.schema.SCALES`.
    """
    # An input that is called as the target has the unit of that name.
    own = units.get(target) if target is not None and target not in names else None
    given = {name: units[name] for name in names if name in units}
    if not given and own is None:
        return None
    parsed = {name: _parsed(name, unit, "units") for name, unit in given.items()}
    if own is not None and target is not None:
        given[target], parsed[target] = own, _parsed(target, own, "units")
    axes = sorted({axis for unit in parsed.values() for axis in unit.dimensionality})
    axes.sort(key=lambda axis: axis != "[mass]")  # kg*m**2/s**2

    def dimension(name: str) -> Dimension | None:
        if name not in parsed:
            return None
        powers = parsed[name].dimensionality
        return tuple(Fraction(powers.get(axis, 0)).limit_denominator(1000) for axis in axes)

    aim = tuple(Fraction(0) for _ in axes) if target is None else None
    if own is not None and target is not None and scale in ("", "log"):
        aim = dimension(target)
    dimensions = Dimensions(tuple(map(dimension, names)), aim, scale == "log")
    base, notes = _base(parsed, axes)
    return Units(given, dimensions, base, notes)


@cache
def _registry(option: str) -> Any:
    try:
        import pint
    except ImportError:
        raise KanExpError(f"{option} needs pint: pip install 'kan_exp[units]'") from None
    return pint.UnitRegistry()


def _parsed(name: str, unit: str, option: str) -> Any:
    registry = _registry(option)
    try:
        return registry.Unit(registry.parse_units(unit.strip()))
    except Exception as error:  # pint raises a dozen kinds of them, AssertionError among them
        reason = message_of(error).rstrip(".")
        raise KanExpError(
            f"{option}: {name!r} has the unit {unit!r}, which pint cannot read ({reason}): write "
            f"it as m/s**2, kg*m or percent, or 1 for numbers without a unit."
        ) from error


def _scale(unit: Any) -> float:
    """A unit in the units of SI."""
    return float(_registry("units").get_base_units(unit)[0])


def _base(
    parsed: Mapping[str, Any], axes: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Units of the base dimensions, and notes: those of the user as far as they go together."""
    registry = _registry("units")
    chosen: dict[str, Any] = {}
    for unit in parsed.values():
        if list(unit.dimensionality.values()) == [1]:
            (axis,) = unit.dimensionality
            chosen.setdefault(axis, unit)
    for unit in parsed.values():
        for part in registry.get_base_units(unit)[1]._units:
            one = registry.Unit(part)
            for axis in one.dimensionality:
                chosen.setdefault(axis, one)
    mixed = []
    for name, unit in parsed.items():
        scale = _scale(unit)
        for axis, power in unit.dimensionality.items():
            scale /= _scale(chosen[axis]) ** float(power)
        if not math.isclose(scale, 1, rel_tol=SAME):
            mixed.append(f"{name} [{unit:~}]")
    base = tuple(f"{chosen[axis]:~}" for axis in axes)
    if not mixed:
        return base, ()
    return base, (
        f"units are not converted: the formula's constants hold the factors between "
        f"{listing(mixed)} and products of {listing(base or ['1'])}.",
    )
