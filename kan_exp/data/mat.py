"""Arrays of a MATLAB file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kan_exp.data.schema import Schema
from kan_exp.data.split_options import SplitOptions
from kan_exp.data.split_table import SplitTableData
from kan_exp.data.table import Table
from kan_exp.errors import KanExpError, listing, message_of, suggest


class MatData(SplitTableData):
    """Rows of two arrays in a .mat file: a matrix of inputs and a vector of outputs.

    Dense and sparse arrays of numbers are read. Inputs are called `NAME1`, `NAME2` and so on.

    Args:
        path: The file, of MATLAB's version 4 to 7.2; relative to the current folder, `~` is home.
        inputs: Name of the array of inputs `(rows, in)`.
        target: Name of the array of outputs `(rows,)`, `(rows, 1)` or `(1, rows)`.
        fractions: See `SplitOptions` for this, `seed` and `others`.

    Raises:
        KanExpError: SciPy is not installed, the file or an array cannot be read or is no array of
            finite real numbers, their rows differ, or as `SplitTableData` does.
    """

    def __init__(
        self,
        path: str | Path,
        inputs: str,
        target: str,
        fractions: Sequence[float],
        seed: int,
        **others: Any,
    ) -> None:
        arrays = _read(Path(path).expanduser())
        x = _array(path, arrays, "inputs", inputs)
        y = _array(path, arrays, "target", target)
        if 1 not in y.shape:
            raise KanExpError(
                f"{path}: data.target={target} must be one column, got {_shape(y)}: choose "
                f"another array."
            )
        y = y.reshape(-1, 1)
        if len(x) != len(y):
            raise KanExpError(
                f"{path}: {inputs} has {len(x):,} rows and {target} {len(y):,}: choose arrays of "
                f"the same rows with data.inputs and data.target."
            )
        names = [f"{inputs}{number}" for number in range(1, x.shape[1] + 1)]
        names = [f"{name}_" if name == target else name for name in names]
        schema = Schema.of_numbers(names, [target])
        super().__init__(
            Table.of_arrays(str(path), schema, x, y),
            SplitOptions(fractions, seed, **others),
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise KanExpError("data=mat needs SciPy: pip install scipy.") from None
    if not path.is_file():
        raise KanExpError(f"{path}: no such file: set data.path to a .mat file.")
    try:
        content = loadmat(path)
    except NotImplementedError:
        raise KanExpError(
            f"{path}: MATLAB's version 7.3 is an HDF5 file: save it again with save(..., '-v7')."
        ) from None
    except Exception as error:  # of any kind where the file is not one of MATLAB
        raise KanExpError(f"{path}: not a .mat file ({message_of(error)}).") from error
    return {name: value for name, value in content.items() if not name.startswith("__")}


def _array(path: str | Path, arrays: dict[str, Any], option: str, name: str) -> NDArray[Any]:
    """An array as a matrix of float64."""
    from scipy.sparse import issparse

    if name not in arrays:
        hint = suggest(str(name), arrays) or f" It has: {listing(arrays)}."
        raise KanExpError(f"{path}: there is no array {name!r} (data.{option}).{hint}")
    value = arrays[name].toarray() if issparse(arrays[name]) else arrays[name]
    if value.dtype.kind not in "buif" or value.ndim != 2 or not value.size:
        raise KanExpError(
            f"{path}: {name} must be a matrix of real numbers, got {_shape(value)} of "
            f"{value.dtype}: choose another array with data.{option}."
        )
    if not np.isfinite(value).all():
        row, column = np.argwhere(~np.isfinite(value))[0] + 1
        raise KanExpError(
            f"{path}: {name}({row},{column}) is {value[row - 1, column - 1]}: remove such rows."
        )
    return value.astype(np.float64)


def _shape(value: NDArray[Any]) -> str:
    return "x".join(map(str, value.shape))
