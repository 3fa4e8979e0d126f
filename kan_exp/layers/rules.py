"""Options of every kind of layer and the values they take, without torch.

Constructors check their arguments by these rules. So does a training, before torch is imported.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kan_exp.errors import KanExpError, listing, suggest

MAX_COUNT = 2**31 - 1  # beyond which torch cannot count what a few layers have
MAX_PLACES = 2**20  # an interval at an end of the range then has 16 values of float32


@dataclass(frozen=True)
class Whole:
    """A whole number from `least` to `most`, or 0 with `or_zero`; `is_grid` if it counts knots.

    `most` is `MAX_COUNT` if not given.

    As all rules, `check` raises a `ValueError` that starts with the owner, the class of the option.
    """

    least: int
    most: int | None = None
    or_zero: bool = False
    is_grid: bool = False

    def check(self, owner: str, name: str, value: Any) -> None:
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and self.or_zero and value == 0:
            return
        most = MAX_COUNT if self.most is None else self.most
        if not whole or not self.least <= value <= most:
            zero = "0 or " if self.or_zero else ""
            known = self.most is not None or (whole and value > most)
            bounds = f"{self.least} to {most}" if known else f"at least {self.least}"
            raise ValueError(
                f"{owner} needs {name} to be {zero}a whole number of {bounds}, got {value!r}."
            )
        if self.is_grid and value > MAX_PLACES:
            raise ValueError(
                f"{owner} needs {name} to be at most {MAX_PLACES}, beyond which neighbors on a "
                f"grid are nearly equal in float32, got {value!r}."
            )


@dataclass(frozen=True)
class Finite:
    """A finite number."""

    def check(self, owner: str, name: str, value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not abs(value) <= sys.float_info.max:  # also of an integer of any size
            raise ValueError(f"{owner} needs {name} to be a finite number, got {value!r}.")


@dataclass(frozen=True)
class OneOf:
    """One of a few words."""

    known: tuple[str, ...]

    def check(self, owner: str, name: str, value: Any) -> None:
        if value not in self.known:
            raise ValueError(
                f"{owner} needs {name} to be one of {', '.join(self.known)}, got {value!r}."
            )


def check_range(owner: str, x_min: float, x_max: float) -> None:
    """Raises a `ValueError` if an end of a range is no finite number, or `x_min >= x_max`."""
    Finite().check(owner, "x_min", x_min)
    Finite().check(owner, "x_max", x_max)
    if not x_min < x_max:
        raise ValueError(f"{owner} needs x_min < x_max, got {x_min} and {x_max}.")


Rule = Whole | Finite | OneOf
Options = Mapping[str, Any]
RANGE: dict[str, Rule] = {"x_min": Finite(), "x_max": Finite()}


@dataclass(frozen=True)
class Kind:
    """A kind of layer.

    Attributes:
        options: The constructor's arguments beyond dimensions and generator, with their rules.
        parameters: Trainable numbers per edge of a layer with these options.
        per_output: Trainable numbers per output that belong to no edge.
        grid: The option that sets the size of a grid, and by how much it exceeds the number of
            intervals.
    """

    options: Mapping[str, Rule]
    parameters: Callable[[Options], int] = field(compare=False)
    per_output: int = 0
    grid: tuple[str, int] | None = None

    def check(self, owner: str, **options: Any) -> None:
        """Raises a `ValueError` if the value of an option breaks its rule."""
        for name, value in options.items():
            self.options[name].check(owner, name, value)
        if RANGE.keys() <= options.keys():
            check_range(owner, options["x_min"], options["x_max"])

    def count_intervals(self, options: Options) -> int | None:
        """Intervals of each edge's grid; `None` for kinds without a grid."""
        return None if self.grid is None else int(options[self.grid[0]]) - self.grid[1]

    def with_intervals(self, options: Options, num_intervals: int) -> dict[str, Any]:
        """The options with that number of intervals; unchanged for kinds without a grid."""
        if self.grid is None:
            return dict(options)
        name, excess = self.grid
        return {**options, name: num_intervals + excess}

    def count(self, options: Options, dim_in: int, dim_out: int) -> int:
        """Trainable numbers of a layer."""
        return dim_out * (dim_in * self.parameters(options) + self.per_output)


def check_names(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raises a `KanExpError` if a kind of layer does not have an option that it is given."""
    known = list(known)
    for name in given:
        if name not in known:
            hint = suggest(name, known) or f" It has: {listing(known)}."
            raise KanExpError(f"layer.{name}: {owner} has no such option.{hint}")


def check_count(kinds: int, dims: Sequence[int]) -> None:
    """Raises a `KanExpError` if there is not one kind for each layer."""
    if kinds != len(dims) - 1:
        raise KanExpError(
            f"layers names {kinds} kinds, but dims=[{','.join(map(str, dims))}] has "
            f"{len(dims) - 1} layers: name one for each."
        )


KINDS: dict[str, Kind] = {
    "KANLayer": Kind(
        {
            "fcn_hidden": Whole(1),
            "fcn_n_sin": Whole(0),
            "activation": OneOf(("silu", "gelu", "relu", "softplus")),
            "table_points": Whole(2, or_zero=True, is_grid=True),
        },
        lambda o: o["fcn_hidden"] * (3 + 2 * o["fcn_n_sin"]) + 1,
    ),
    "KANInterpoLayer": Kind(
        {"num_x": Whole(2, is_grid=True), **RANGE, "outside": OneOf(("linear", "hold", "zero"))},
        lambda o: int(o["num_x"]),
        grid=("num_x", 1),
    ),
    "KANSplineLayer": Kind(
        {
            "num_intervals": Whole(1, is_grid=True),
            "degree": Whole(1, 5),
            **RANGE,
            "base": OneOf(("none", "linear", "silu")),
        },
        lambda o: o["num_intervals"] + o["degree"] + (o["base"] != "none"),
        grid=("num_intervals", 0),
    ),
    "KANChebyshevLayer": Kind({"degree": Whole(1), **RANGE}, lambda o: o["degree"] + 1),
    "KANFourierLayer": Kind(
        {"num_frequencies": Whole(1), **RANGE}, lambda o: 2 + 2 * o["num_frequencies"]
    ),
    "KANRationalLayer": Kind({"degree": Whole(2, 8), **RANGE}, lambda o: 2 * o["degree"]),
    "KANRBFLayer": Kind(
        {"num_centers": Whole(2, is_grid=True), **RANGE, "base": OneOf(("auto", "silu", "linear"))},
        lambda o: o["num_centers"] + 1,
    ),
    "KANLinearLayer": Kind(
        {"activation": OneOf(("silu", "gelu", "relu", "tanh", "none"))}, lambda o: 1, per_output=1
    ),
}
