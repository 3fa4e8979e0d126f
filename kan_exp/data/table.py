"""Tables: columns of numbers, checked without torch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kan_exp.data.columns import Fault, FloatArray, shown, tidy
from kan_exp.data.faults import CONSTANT, RANGE, REPEATED, UNNAMED, faulty
from kan_exp.data.options import TRAINING, Options, assign
from kan_exp.data.readers import open_columns
from kan_exp.data.schema import Schema
from kan_exp.data.table_reader import TableReader
from kan_exp.errors import KanExpError, listing

if TYPE_CHECKING:
    from kan_exp.data.points import Split

MIN_TRAIN = 10
MIN_ROWS = MIN_TRAIN + 2  # one for validation, and one for the test
ROUNDED = 1e-3  # relative, of fractions that were typed
FLOAT32 = np.finfo(np.float32)


@dataclass(frozen=True, eq=False)
class Table:
    """The chosen columns of a file, all finite, in the user's own units.

    Attributes:
        source: Where they come from, as the user named it.
        schema: Inputs and outputs.
        x: Inputs `(n, in)`.
        y: Outputs `(n, out)`.
        notes: What was changed as they were read.
    """

    source: str
    schema: Schema
    x: FloatArray
    y: FloatArray
    notes: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        return self.schema.features

    @property
    def target_name(self) -> str:
        return self.schema.target_name

    @property
    def rows(self) -> int:
        return len(self.x)

    def split(self) -> Split:
        """All rows in the order of the file, float64."""
        import torch

        from kan_exp.data.points import Split

        return Split(torch.from_numpy(self.x), torch.from_numpy(self.y))


def read_table(
    path: object, features: Sequence[object] | None, target: object, separator: object = ","
) -> Table:
    """Reads inputs and, where `target` names it, the output from a file.

    Names are compared with runs of blanks taken as one. In text, `true` and `false` count as 1 and
    0 in a column that holds nothing else; so do the booleans of Parquet and npz.

    Args:
        path: A .csv, .tsv, .parquet or .npz file; relative to the current folder, `~` is home.
        features: Input columns in the wanted order; `None` takes all but the target.
        target: The output column; `None` reads inputs only.
        separator: Of the fields of a .csv file.

    Raises:
        KanExpError: The file cannot be read, a column is unknown or chosen twice, or chosen columns
            have fields that are missing, infinite or no number; all of them are named.
    """
    reader = open_columns(path, separator)
    return read_columns(reader, choose(reader, features, target))


def choose(reader: TableReader, features: Sequence[object] | None, target: object) -> Schema:
    """The columns that options name, see `read_table`.

    Raises:
        KanExpError: The options are no names.
    """
    options = reader.options
    if target is not None and not isinstance(target, str | int | float):
        raise KanExpError(
            f"{options.target} must be the name of one column, got {target!r}"
            f"{_list_hint(reader, target)}"
        )
    outputs = () if target is None else (tidy(target),)
    if features is None:
        # Columns without a name are kept: they are reported as faults.
        inputs = tuple(dict.fromkeys(name for name in reader.names if name not in outputs))
    elif isinstance(features, str) or not isinstance(features, Sequence):
        typed = assign(f"{options.features}", [tidy(features)])
        raise KanExpError(
            f"{options.features} must be a list of columns, got {shown(features)}: set {typed}."
        )
    else:
        inputs = tuple(map(tidy, features))
    for option, names in ((options.target, outputs), (options.features, inputs)):
        if "" in names and (features is not None or names == outputs):
            raise reader.unknown([""], option)
    if features is None and not any(inputs):
        raise reader.error(
            f"has no column but {shown(tidy(target))}: add at least one to learn from."
        )
    if not inputs:
        raise reader.error(f"{options.features} leaves no column to learn from: name at least one.")
    return Schema.of_numbers(inputs, outputs)


def _list_hint(reader: TableReader, target: object) -> str:
    """What to type for a column whose name was read as a list."""
    if not isinstance(target, Sequence):
        return "."
    text = f"[{','.join(str(name).strip() for name in target)}]"
    name = next((name for name in reader.names if name.replace(", ", ",") == text), None)
    return "." if name is None else f": set {assign(reader.options.target, name)}"


def read_columns(reader: TableReader, schema: Schema, learns: bool = False) -> Table:
    """Reads inputs and outputs of a file that is open.

    Args:
        reader: The file.
        schema: Chosen by options, or that of a trained network.
        learns: Whether a network is to be trained on them; then a column must have a scale.

    Raises:
        KanExpError: As `read_table` does.
    """
    _check_names(reader, schema)
    names = [*schema.features, *schema.targets]
    faults = []
    if "" in names:
        places = [place + 1 for place in reader.places("")]
        faults += [Fault(UNNAMED, "", f"column {place}") for place in places]
    for name in names:
        if name and len(places := reader.places(name)) > 1:
            faults.append(Fault(REPEATED, name, f"{len(places)} columns"))
    unique = [name for name in names if name and len(reader.places(name)) == 1]
    values, notes = np.empty((0, 0)), list[str]()
    if unique:
        values, more, notes = reader.read(unique)
        faults += more
        if learns and len(values) > 1:
            faults += _scale_faults(unique, values, {fault.name for fault in more})
    if faults:
        raise faulty(reader, faults, schema, dict(zip(unique, values.T, strict=True)))
    width = len(schema.inputs)
    x, y = values[:, :width].copy(), values[:, width:].copy()
    return Table(reader.source, schema, x, y, tuple(notes))


def _check_names(reader: TableReader, schema: Schema) -> None:
    """Checks that the columns exist, and that each is chosen once."""
    options, inputs = reader.options, schema.features
    for option, names in ((options.target, schema.targets), (options.features, inputs)):
        if unknown := [name for name in names if not reader.places(name)]:
            raise reader.unknown(unknown, option)
    for output in schema.targets:
        if output in inputs and options.features is None:
            raise reader.error(
                f"column {shown(output)} is an input of the network: {options.target} is the "
                "column that its predictions are compared with."
            )
        if output in inputs:
            raise reader.error(
                f"column {shown(output)} is {options.target} and among {options.features}: "
                "leave it out there."
            )
    for name, count in Counter(inputs).items():
        if count > 1:
            raise reader.error(f"{options.features} names {shown(name)} twice: name it once.")


def _scale_faults(names: Sequence[str], values: FloatArray, bad: set[str]) -> list[Fault]:
    """Faults of columns `(n, len(names))` with one value throughout, or beyond float32."""
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
    """Numbers of rows for training, validation and test."""

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
    """The option that suits so many rows: the usual, or one row for each of the smaller parts."""
    share = math.ceil(10_000 / rows) / 10_000
    shares = (0.7, 0.15, 0.15) if rows >= 15 else (1 - 2 * share, share, share)
    return f"data.fractions=[{','.join(f'{part:.4g}' for part in shares)}]"


def check_fractions(fractions: Sequence[float]) -> tuple[float, float, float]:
    """Fractions of training, validation and test: three positive numbers that sum to 1."""
    if isinstance(fractions, Sequence) and len(fractions) == 3:
        numbers = [share for share in fractions if isinstance(share, int | float) and share > 0]
        if len(numbers) == 3 and math.isclose(sum(numbers), 1, abs_tol=1e-6):
            return numbers[0], numbers[1], numbers[2]
    raise KanExpError(
        "data.fractions must be three positive numbers that sum to 1 (training, validation, test), "
        f"got {fractions}."
    )


# The last table that was read for a training, by its file and options.
_last: dict[tuple[object, ...], Table] = {}


def learning_table(
    path: object,
    target: object,
    features: Sequence[object] | None,
    fractions: Sequence[float],
    separator: object,
    options: Options = TRAINING,
) -> Table:
    """Reads and checks the table of a training, without torch.

    A file that has not changed is not read twice in a row.

    Raises:
        KanExpError: As `read_table` does; there is no target, too few rows, or a column without a
            scale.
    """
    check_fractions(fractions)
    key = (*_file_state(path), str(target), str(features), str(separator))
    if key not in _last:
        reader = open_columns(path, separator, options)
        if target is None:
            raise _no_target(reader)
        table = read_columns(reader, choose(reader, features, target), learns=True)
        _last.clear()
        _last[key] = table
    table = _last[key]
    split_rows(table.source, table.rows, fractions)
    return table


def _no_target(reader: TableReader) -> KanExpError:
    # OmegaConf takes ??? for no value, so that no option can name a column of that name.
    named = [name for name in reader.names if name and name != "???"]
    last = named[-1] if named else reader.names[-1]
    option = reader.options.target
    return reader.error(
        f"{option} is needed, the column to learn, such as {assign(option, last)}; columns: "
        f"{listing(map(shown, reader.names))}.{reader.without_header()}"
    )


def _file_state(path: object) -> tuple[object, ...]:
    """What differs once a file has changed."""
    file = Path(str(path))
    try:
        file = file.expanduser()
        state = file.stat()
    except (OSError, RuntimeError, ValueError):
        return (path,)
    return (file.absolute(), state.st_mtime_ns, state.st_size, state.st_ino)
