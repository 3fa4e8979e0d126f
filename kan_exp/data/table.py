"""Tables of a user's own: columns of numbers, checked without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kan_exp.data.columns import (
    ColumnReader,
    Fault,
    FloatArray,
    shown,
    tidy,
)
from kan_exp.data.faults import CONSTANT, RANGE, REPEATED, UNNAMED, faulty
from kan_exp.data.options import TRAINING, Options, assign
from kan_exp.data.readers import open_columns
from kan_exp.errors import KanExpError, listing

if TYPE_CHECKING:
    from kan_exp.data.points import Split

MIN_TRAIN = 10
MIN_ROWS = MIN_TRAIN + 2  # one for validation, and one for the test
ROUNDED = 1e-3  # relative, of shares that were typed
FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True, eq=False)
class Table:
    """The chosen columns of one file, all finite, in the user's own units.

    Attributes:
        source: Where they come from, as the user named it.
        features: Names of the inputs, in the order of `x`.
        target: Name of the output; `None` where only inputs were asked for.
        x: Inputs `(n, in)`.
        y: Outputs `(n,)`, or `None`.
        columns: Columns of the whole file, chosen or not.
    """

    source: str
    features: tuple[str, ...]
    target: str | None
    x: FloatArray
    y: FloatArray | None
    columns: int

    @property
    def rows(self) -> int:
        return len(self.x)

    def split(self) -> Split:
        """All rows in the order of the file, float64."""
        import torch

        from kan_exp.data.points import Split

        if self.y is None:
            raise KanExpError(f"{self.source}: data.target is needed to score its rows.")
        return Split(torch.from_numpy(self.x), torch.from_numpy(self.y).unsqueeze(1))


def read_table(
    path: object,
    features: Sequence[object] | None,
    target: object,
    separator: object = ",",
) -> Table:
    """Reads inputs and, where `target` names it, the output from a file.

    Names are compared with runs of blanks taken as one. In text, `true` and `false` count as 1 and
    0 in a column that holds nothing else; so do the booleans of Parquet and npz.

    Args:
        path: A .csv, .tsv, .parquet or .npz file; relative to the current folder, `~` is home.
        features: Input columns in the wanted order; `None` takes all but the target.
        target: The output column; `None` reads inputs only.
        separator: What separates the cells of a .csv file.

    Raises:
        KanExpError: The file cannot be read, a column is unknown or chosen twice, or chosen columns
            have cells that are missing, infinite or no number: all of them are named.
    """
    return read_columns(open_columns(path, separator), features, target)


def read_columns(
    reader: ColumnReader,
    features: Sequence[object] | None,
    target: object,
    learns: bool = False,
) -> Table:
    """Reads inputs and output of a file that is open, see `read_table`.

    Args:
        reader: The file.
        features: Input columns in the wanted order; `None` takes all but the target.
        target: The output column; `None` reads inputs only.
        learns: Whether a network is to be trained on them: then a column must have a scale.
    """
    inputs, output = choose(reader, features, target)
    wanted = list(inputs) if output is None else [*inputs, output]
    faults = []
    for at, name in enumerate(reader.names):
        if not name and features is None:
            faults.append(Fault(UNNAMED, "", f"column {at + 1}"))
    for name in dict.fromkeys(wanted):
        if name and len(places := reader.places(name)) > 1:
            faults.append(Fault(REPEATED, name, f"{len(places)} columns"))
    bad = {fault.name for fault in faults}
    sound = [name for name in wanted if name not in bad]
    values, more = reader.read(sound) if sound else (np.empty((0, 0)), [])
    faults += more
    if learns and len(values) > 1:
        faults += _scales(sound, values, {fault.name for fault in more})
    if faults:
        raise faulty(reader, faults, inputs, output, dict(zip(sound, values.T, strict=True)))
    x, y = (values, None) if output is None else (values[:, :-1].copy(), values[:, -1].copy())
    return Table(reader.source, inputs, output, x, y, len(reader.names))


def choose(
    reader: ColumnReader, features: Sequence[object] | None, target: object
) -> tuple[tuple[str, ...], str | None]:
    """The names of inputs and output, as the file has them.

    Raises:
        KanExpError: A column is unknown, chosen twice, or both input and output.
    """
    options = reader.options
    if target is not None and not isinstance(target, str | int | float):
        raise KanExpError(
            f"{options.target} must be the name of one column, got {target!r}"
            f"{_meant(reader, target)}"
        )
    output = None if target is None else tidy(target)
    if features is None:
        # Repeated names are kept: they are reported as faults.
        inputs = tuple(dict.fromkeys(name for name in reader.names if name != output))
    else:
        if isinstance(features, str) or not isinstance(features, Sequence):
            typed = assign(f"{options.features}", [tidy(features)])
            raise KanExpError(
                f"{options.features} must be a list of columns, got {shown(features)}: set {typed}."
            )
        inputs = tuple(map(tidy, features))
    for option, names in ((options.target, (output,)), (options.features, inputs)):
        if unknown := [name for name in names if name is not None and not reader.places(name)]:
            raise reader.unknown(unknown, option)
    if output == "" or (features is not None and "" in inputs):
        raise reader.unknown([""], options.target if output == "" else options.features)
    if output in inputs and options.features is None:
        raise reader.error(
            f"column {shown(output)} is an input of the network: {options.target} is the column "
            "that its predictions are compared with."
        )
    if output in inputs:
        raise reader.error(
            f"column {shown(output)} is {options.target} and among {options.features}: "
            "leave it out there."
        )
    for name, count in Counter(inputs).items():
        if count > 1:
            raise reader.error(f"{options.features} names {shown(name)} twice: name it once.")
    if not any(inputs) and features is None:
        raise reader.error(f"has no column but {shown(output)}: add at least one to learn from.")
    if not any(inputs):
        raise reader.error(f"{options.features} leaves no column to learn from: name at least one.")
    return inputs, output


def _meant(reader: ColumnReader, target: object) -> str:
    """What to type for a column whose name was read as a list."""
    if not isinstance(target, Sequence):
        return "."
    read = ",".join(str(name).strip() for name in target)
    name = next((name for name in reader.names if name.replace(", ", ",") == f"[{read}]"), None)
    return "." if name is None else f": set {assign(reader.options.target, name)}"


def _scales(names: Sequence[str], values: FloatArray, bad: set[str]) -> list[Fault]:
    """Columns `(n, len(names))` without a scale: one value throughout, or beyond float32."""
    lows, highs = values.min(0), values.max(0)
    with np.errstate(over="ignore", invalid="ignore"):
        spreads = values.std(0)
    faults = []
    for name, low, high, spread in zip(names, lows, highs, spreads, strict=True):
        if name in bad:
            continue
        if low == high:
            faults.append(Fault(CONSTANT, name, f"{low:g}"))
        elif not FLOAT32.tiny < spread < FLOAT32.max:
            faults.append(Fault(RANGE, name, f"{low:g} to {high:g}"))
    return faults


class Parts(NamedTuple):
    """Rows for training, validation and test."""

    train: int
    val: int
    test: int


def split_rows(source: str, rows: int, fractions: Sequence[float]) -> Parts:
    """How many rows go where.

    Raises:
        KanExpError: The fractions are no fractions, or the rows are too few.
    """
    train, val, test = check_fractions(fractions)
    if rows < MIN_ROWS:
        many = "1 row" if rows == 1 else f"{rows} rows"
        raise KanExpError(f"{source}: has {many}, but training needs at least {MIN_ROWS}.")
    needed = max(MIN_TRAIN / train, 1 / val, 1 / test)
    if rows < needed * (1 - ROUNDED):
        raise KanExpError(
            f"{source}: has {rows} rows, but data.fractions=[{train:g},{val:g},{test:g}] needs "
            f"at least {math.ceil(needed)}: add rows, or set '{_fractions_for(rows)}'"
        )
    num_val, num_test = round(rows * val), round(rows * test)
    return Parts(rows - num_val - num_test, num_val, num_test)


def _fractions_for(rows: int) -> str:
    """The option that suits so many rows: as usual, or with one row for each of the others."""
    share = math.ceil(10_000 / rows) / 10_000
    shares = (0.7, 0.15, 0.15) if rows >= 15 else (1 - 2 * share, share, share)
    return f"data.fractions=[{','.join(f'{part:.4g}' for part in shares)}]"


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Shares of training, validation and test: three positive numbers that sum to 1."""
    if isinstance(fractions, Sequence) and len(fractions) == 3:
        numbers = [share for share in fractions if isinstance(share, int | float) and share > 0]
        if len(numbers) == 3 and math.isclose(sum(numbers), 1, abs_tol=1e-6):
            return numbers[0], numbers[1], numbers[2]
    raise KanExpError(
        "data.fractions must be three positive numbers that sum to 1 (training, validation, test), "
        f"got {fractions}."
    )


def learning_table(
    path: object,
    target: object,
    features: Sequence[object] | None,
    fractions: Sequence[float],
    separator: object,
    options: Options = TRAINING,
) -> Table:
    """Reads and checks the table of a training, without torch.

    It is read once: `TableData` of the same arguments takes what a check has read.

    Raises:
        KanExpError: As `read_table` does; there is no target, too few rows, or a column without a
            scale.
    """
    check_fractions(fractions)
    reader = open_columns(path, separator, options)
    if target is None:
        # OmegaConf takes ??? for no value, so that no option can name a column of that name.
        named = [name for name in reader.names if name and name != "???"]
        last = named[-1] if named else reader.names[-1]
        raise reader.error(
            f"{options.target} is needed, the column to learn, such as "
            f"{assign(options.target, last)}; columns: {listing(map(shown, reader.names))}."
            f"{reader.without_header()}"
        )
    table = read_columns(reader, features, target, learns=True)
    split_rows(table.source, table.rows, fractions)
    return table


# The last checked table, by its file and options.
_read: dict[tuple[object, ...], Table] = {}


def keep_table(table: Table, *key: object) -> None:
    """Keeps one table, the last, for `take_table`."""
    _read.clear()
    _read[_stamped(key)] = table


def take_table(*key: object) -> Table | None:
    """Returns the table kept under this key if its file has not changed, and forgets it."""
    return _read.pop(_stamped(key), None)


def _stamped(key: tuple[object, ...]) -> tuple[object, ...]:
    path = Path(str(key[0])).expanduser()
    try:
        found = path.stat()
    except (OSError, RuntimeError, ValueError):
        return key
    return (path.absolute(), found.st_mtime_ns, found.st_size, found.st_ino, *map(str, key[1:]))
