"""The columns that a model reads and predicts, and how they become numbers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from kan_exp.data.columns import FloatArray
from kan_exp.lazy import polars as pl

if TYPE_CHECKING:
    from torch import Tensor

KINDS = ("number", "boolean", "category", "date", "class")
OTHER, MISSING = "other", "missing"  # what stands for rare levels and gaps in names of features
MIN_LEVEL = 5  # training rows of a level or of an indicator; fewer in small tables
MIN_SHARE = 0.05
MAX_LEVELS = 100
FLAT = 1e-9  # sines of one day of the year differ by their rounding only
# Scales of numbers: a function of arrays, and the method of a tensor that is its inverse.
SCALES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "log": (np.log, "exp"),
    "log1p": (np.log1p, "expm1"),
}
# Names of a date's features, by the part that they show.
PARTS = {
    "year": ("year",),
    "day of year": ("dayofyear_sin", "dayofyear_cos"),
    "weekday": ("weekday_sin", "weekday_cos"),
    "time of day": ("time_sin", "time_cos"),
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: As users type it, see `tidy`.
        kind: How its fields are read; one of `KINDS`.
        format: How numbers or dates are written as text: the decimal sign (`.` or `,`), or a
            format of `strptime`.
        unit: What stands in front of or behind all of its numbers.
        scale: A name in `SCALES`; empty for numbers as they are.
        impute: Whether gaps are filled.
        levels: Of a category or class, sorted; of an input, those that are features.
        rare: Other known levels of a category, too rare for a feature each.
        other: Whether rare levels have a feature together.
        parts: Features of a date that vary.
        fill: What numbers and dates (in microseconds) have in place of gaps.
        gaps: Whether gaps have a feature.
    """

    name: str
    kind: str = "number"
    format: str = ""
    unit: str = ""
    scale: str = ""
    impute: bool = False
    levels: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    other: bool = False
    parts: tuple[str, ...] = ()
    fill: float | None = None
    gaps: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.kind not in KINDS:
            raise ValueError(f"column {self.name!r} is of the unknown kind {self.kind!r}")
        if self.scale and self.scale not in SCALES:
            raise ValueError(f"column {self.name!r} has the unknown scale {self.scale!r}")
        for name in ("levels", "rare", "parts"):
            object.__setattr__(self, name, tuple(getattr(self, name)))

    def describe(self) -> dict[str, Any]:
        """Plain containers of what differs from a column of numbers."""
        plain = Column(self.name)
        values = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if value != getattr(plain, key)
        }
        return {"name": self.name, "kind": self.kind, **values}

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the network's inputs that this column becomes; its own name before `fit`."""
        if self.kind == "category":
            names = [*self.levels, *[OTHER] * self.other, *[MISSING] * self.gaps]
            # One of two says which of both it is.
            return tuple(f"{self.name}={level}" for level in names[len(names) == 2 :])
        gaps = [f"{self.name}={MISSING}"] * self.gaps
        if self.kind == "date":
            return (*(f"{self.name}.{part}" for part in self.parts), *gaps)
        return (f"{self.scale}({self.name})" if self.scale else self.name, *gaps)

    @property
    def has_features(self) -> bool:
        """Whether the features are known."""
        if self.kind in ("number", "boolean"):
            return not self.impute or self.fill is not None
        return bool(self.levels or self.parts)

    def fit(self, values: pl.Series) -> Column | None:
        """The column as the training rows have it.

        Args:
            values: Float64, of a category or class String, of a date Datetime; null for gaps.

        Returns:
            None if it does not vary over these rows.
        """
        least = min(MIN_LEVEL, math.ceil(MIN_SHARE * len(values)))
        known = values.drop_nulls()
        common = self.impute and values.null_count() >= least
        if self.kind == "class":
            return replace(self, levels=self.levels or tuple(sorted(known.unique())))
        if self.kind == "category":
            return self._fit_levels(known, common, least)
        if known.n_unique() < 2:
            return None
        fill = float(np.median(_floats(known))) if self.impute else None
        fitted = replace(self, fill=fill, gaps=common)
        if self.kind != "date":
            return fitted
        parts = _date_parts(known)
        if known.dt.day().n_unique() == 1:  # the weekdays of New Year's days mean nothing
            for name in PARTS["weekday"]:
                del parts[name]
        varied = tuple(name for name, part in parts.items() if np.ptp(part) > FLAT)
        return replace(fitted, parts=varied) if varied else None

    def _fit_levels(self, known: pl.Series, gaps: bool, least: int) -> Column | None:
        counts = sorted(Counter(known.to_list()).items(), key=lambda pair: (-pair[1], pair[0]))
        kept = sorted(level for level, count in counts[:MAX_LEVELS] if count >= least)
        rare = sorted({level for level, _ in counts} - {*kept})
        other = sum(count for level, count in counts if level not in kept) >= least
        if len(kept) + other + gaps < 2:
            return None
        return replace(self, levels=tuple(kept), rare=tuple(rare), other=other, gaps=gaps)

    def encode(self, values: pl.Series) -> FloatArray:
        """The features `(n, features)` of fields, see `fit`.

        A level that is neither known nor has a feature is all zeros, or halfway between two.
        """
        if self.kind == "category":
            return self._one_hot(values)
        missing = values.is_null()
        if self.kind == "date":
            filled = values.cast(_dtype("date")).to_physical().cast(_dtype("number"))
            parts = _date_parts(self._filled(filled))
            columns = [parts[name] for name in self.parts]
        else:
            numbers = _floats(self._filled(values))
            with np.errstate(all="ignore"):
                columns = [SCALES[self.scale][0](numbers) if self.scale else numbers]
        if self.gaps:
            columns.append(_floats(missing))
        return np.column_stack(columns)

    def _filled(self, values: pl.Series) -> pl.Series:
        return values if self.fill is None else values.fill_null(self.fill)

    def _one_hot(self, values: pl.Series) -> FloatArray:
        known, width = len(self.levels), len(self.levels) + self.other + self.gaps
        codes = _floats(
            values.replace_strict(
                [*self.levels, None],
                [*range(known), known + 1],
                default=known,
                return_dtype=_dtype("number"),
            )
        ).astype(int)
        rows = np.zeros((known + 2, width))  # of levels, of other texts, of gaps
        rows[:known, :known] = np.eye(known)
        blank = 0.5 if width == 2 else 0.0
        rows[known] = np.eye(width)[known] if self.other else blank
        rows[known + 1] = np.eye(width)[-1] if self.gaps else blank if self.impute else np.nan
        return rows[codes][:, int(width == 2) :]


def _floats(values: pl.Series) -> FloatArray:
    numbers = values.to_physical().cast(_dtype("number"))
    return numbers.fill_null(float("nan")).to_numpy()


def _dtype(kind: str) -> Any:
    """The type of a column of this kind in frames that are encoded."""
    texts = {"category": pl.String(), "class": pl.String(), "date": pl.Datetime("us")}
    return texts.get(kind, pl.Float64())


def _date_parts(times: pl.Series) -> dict[str, FloatArray]:
    """All features of dates; a day of the year is the same in leap years."""
    at = pl.col("at").dt
    day = pl.date(2000, at.month(), at.day()).dt.ordinal_day() - 1
    second = at.hour().cast(pl.Int64) * 3600 + at.minute().cast(pl.Int64) * 60 + at.second()
    frame = (
        times.cast(pl.Int64)
        .cast(pl.Datetime("us"))
        .to_frame("at")
        .select(
            year=at.year(), day=day / 366, weekday=(at.weekday() - 1) / 7, second=second / 86400
        )
    )
    parts = {"year": _floats(frame["year"])}
    for name, part in zip(frame.columns[1:], list(PARTS.values())[1:], strict=True):
        angle = 2 * np.pi * _floats(frame[name])
        parts |= {part[0]: np.sin(angle), part[1]: np.cos(angle)}
    return parts


@dataclass(frozen=True)
class Schema:
    """Columns of the inputs and of the outputs.

    As recognized, it has what its columns are; `fit` adds what the training rows have, after which
    `encode` makes the network's inputs of the columns.
    """

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()
    missing_values: tuple[str, ...] = ()  # what stands for gaps, too

    @classmethod
    def of_numbers(cls, inputs: Iterable[str], outputs: Iterable[str] = ()) -> Schema:
        """A schema whose columns all hold numbers."""
        return cls(tuple(map(Column, inputs)), tuple(map(Column, outputs)))

    @classmethod
    def restore(cls, description: Mapping[str, Any]) -> Schema:
        """The schema in a checkpoint's description, which is what `describe` returned.

        Raises:
            LookupError, TypeError, ValueError: There is none.
        """
        if (stored := description.get("schema")) is None:  # of numbers alone
            return cls.of_numbers(description["features"], [description["target"]])
        inputs, outputs = (
            tuple(Column(**column) for column in stored[part]) for part in ("inputs", "outputs")
        )
        return cls(inputs, outputs, tuple(stored.get("missing_values", ())))

    def describe(self) -> dict[str, Any]:
        """Plain containers, to be stored with a model."""
        parts = {"inputs": self.inputs, "outputs": self.outputs}
        words = {"missing_values": list(self.missing_values)} if self.missing_values else {}
        return {name: [one.describe() for one in part] for name, part in parts.items()} | words

    def fit(self, frame: pl.DataFrame) -> Schema:
        """The schema as the training rows have it, without inputs that do not vary there.

        Args:
            frame: The training rows of `self.names`, see `Column.fit`.
        """
        inputs = (column.fit(frame[column.name]) for column in self.inputs)
        outputs = tuple(column.fit(frame[column.name]) or column for column in self.outputs)
        kept = tuple(column for column in inputs if column is not None)
        return Schema(kept, outputs, self.missing_values)

    def encode(self, frame: pl.DataFrame) -> FloatArray:
        """The network's inputs `(n, features)` from rows of the columns, see `Column.fit`."""
        if not self.inputs:
            return np.empty((len(frame), 0))
        return np.column_stack([column.encode(frame[column.name]) for column in self.inputs])

    def encode_outputs(self, frame: pl.DataFrame) -> FloatArray:
        """Outputs `(n, out)` on the scale on which they are learned; of a class, its index."""
        columns = []
        for column in self.outputs:
            values = frame[column.name]
            if column.kind == "class":
                indices = list(range(len(column.levels)))
                values = values.replace_strict(
                    list(column.levels), indices, default=None, return_dtype=_dtype("number")
                )
            numbers = _floats(values)
            columns.append(SCALES[column.scale][0](numbers) if column.scale else numbers)
        return np.column_stack(columns) if columns else np.empty((len(frame), 0))

    @property
    def scales_outputs(self) -> bool:
        """Whether outputs are learned on another scale."""
        return any(column.scale for column in self.outputs)

    def decode_outputs(self, y: Tensor) -> Tensor:
        """Outputs `(n, out)` in their own units, from what `encode_outputs` returns."""
        return self._by_output(
            y, [SCALES[one.scale][1] if one.scale else "" for one in self.outputs]
        )

    def scale_outputs(self, y: Tensor) -> Tensor:
        """Outputs `(n, out)` on the scale on which they are learned, from those in their units."""
        return self._by_output(y, [one.scale for one in self.outputs])

    def _by_output(self, y: Tensor, methods: Sequence[str]) -> Tensor:
        """Each output after a method of tensors; unchanged for an empty name."""
        if not self.scales_outputs:
            return y
        import torch

        # Several predictions of one output, such as quantiles, are all on its scale.
        parts = [y] if len(self.outputs) == 1 else y.split(1, 1)
        pairs = zip(parts, methods, strict=True)
        return torch.cat([getattr(part, method or "clone")() for part, method in pairs], 1)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """Names of the network's inputs, each once."""
        names = [name for column in self.inputs for name in column.features]
        if len({*names}) == len(names):
            return tuple(names)
        seen: Counter[str] = Counter()
        for place, name in enumerate(names):
            seen[name] += 1
            if seen[name] > 1:
                names[place] = f"{name} ({seen[name]})"
        return tuple(names)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that the inputs are made of."""
        return tuple(column.name for column in self.inputs)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.outputs)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns."""
        return (*self.columns, *self.targets)

    @property
    def classes(self) -> tuple[str, ...]:
        """Levels of the output if it is a class, else none."""
        return next((column.levels for column in self.outputs if column.kind == "class"), ())

    @property
    def target_name(self) -> str:
        """The outputs in one text, for titles and messages."""
        return ", ".join(self.targets)

    @property
    def has_features(self) -> bool:
        """Whether the features are known, which those of some kinds are only after `fit`."""
        return all(column.has_features for column in self.inputs)

    @cached_property
    def is_plain(self) -> bool:
        """Whether every column of the inputs is an input of the network as it is."""
        return all(column == Column(column.name) for column in self.inputs)
