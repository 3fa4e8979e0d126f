"""The columns that a model reads and predicts, and how their fields are read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

KINDS = ("number", "class")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: As users type it, see `tidy`.
        kind: How its fields are read; one of `KINDS`.
        levels: Of a class, in the order of its indices.
    """

    name: str
    kind: str = "number"
    levels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or self.kind not in KINDS:
            raise ValueError(f"column {self.name!r} is of the unknown kind {self.kind!r}")


@dataclass(frozen=True)
class Schema:
    """Columns of the inputs and of the outputs, in the order of `x` and `y`."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()

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
        if (stored := description.get("schema")) is None:  # as checkpoints once were
            return cls.of_numbers(description["features"], [description["target"]])
        parts = (stored[part] for part in ("inputs", "outputs"))
        return cls(*(tuple(Column(**column) for column in columns) for columns in parts))

    def describe(self) -> dict[str, Any]:
        """Plain containers, to be stored with a model."""
        parts = {"inputs": self.inputs, "outputs": self.outputs}
        return {part: [asdict(column) for column in columns] for part, columns in parts.items()}

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.inputs)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.outputs)

    @property
    def names(self) -> tuple[str, ...]:
        return (*self.features, *self.targets)

    @property
    def classes(self) -> tuple[str, ...]:
        """Levels of the output if it is a class, else none."""
        return next((column.levels for column in self.outputs if column.kind == "class"), ())

    @property
    def target_name(self) -> str:
        """The outputs in one text, for titles and messages."""
        return ", ".join(self.targets)
