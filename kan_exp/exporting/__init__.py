"""Writes a trained model as a file that other programs read: npz, ONNX, torch.export, C or SQL.

The network becomes tables of splines, and each file is compared with the model before it is kept.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from kan_exp.errors import KanExpError, listing, message_of, suggest
from kan_exp.quoting import expand_home
from kan_exp.runs.files import check_output, replacing, write_text

if TYPE_CHECKING:
    from kan_exp.models.model import KANModel

# The module of each format, and how its files end.
FORMATS = {
    "npz": ("npz", ".npz"),
    "onnx": ("onnx_graph", ".onnx"),
    "torch": ("torch_program", ".pt2"),
    "c": ("c_header", ".h"),
    "sql": ("sql_query", ".sql"),
}
DTYPES = ("float32", "int16")
PREFIX = 48  # characters by which an earlier version of a companion file is recognized


def check_export(path: str | Path, format: str | None, dtype: str) -> tuple[Path, str]:
    """Checks what `export` is given, without torch.

    Returns:
        The file, and the name of its format.

    Raises:
        KanExpError: The format or the dtype is unknown, or there is no such folder.
    """
    file = expand_home(path)
    if format is None:
        endings = {ending: name for name, (_, ending) in FORMATS.items()}
        if file.suffix.lower() not in endings:
            raise KanExpError(
                f"export: {path} does not end in one of {listing(endings)}: name such a file, or "
                f"set format to one of {listing(FORMATS)}."
            )
        format = endings[file.suffix.lower()]
    if format not in FORMATS:
        raise KanExpError(
            f"format must be one of {listing(FORMATS)}, got {format!r}.{suggest(format, FORMATS)}"
        )
    if dtype not in DTYPES:
        raise KanExpError(f"dtype must be float32 or int16, got {dtype!r}.")
    if dtype != "float32" and format != "npz":
        raise KanExpError(f"dtype={dtype} is for format=npz, got format={format}: leave it out.")
    check_output(file)
    return file, format


def export(
    model: KANModel,
    path: str | Path,
    format: str | None = None,
    dtype: str = "float32",
    table: str = "data",
) -> list[str]:
    """Writes a model with its preprocessing: units in, units out.

    The file is compared with the model before it gets its name; one that is there is replaced.

    Args:
        model: The model.
        path: The file.
        format: A name in `FORMATS`; by default that of the file's extension.
        dtype: Of the tables in npz: `float32` or `int16`.
        table: Name of the table that a query in SQL reads.

    Returns:
        Lines about the file.

    Raises:
        KanExpError: An argument is wrong, the format cannot hold such a model, or the file cannot
            be written.
    """
    file, format = check_export(path, format, dtype)
    if model.frame is not None:
        raise KanExpError(
            "export writes plain networks, and this one is multiplied by pde.factor: call "
            "model.predict, or train it with conditions in the place of pde.factor"
        )
    import numpy as np

    from kan_exp.exporting.source import Source
    from kan_exp.exporting.tables import make_tables

    with np.errstate(over="ignore", invalid="ignore"):  # of edges that `check_tables` refuses
        source = Source(model, make_tables(model), file.stem, dtype, table)
    if format != "torch":
        source.check_tables()
    made = importlib.import_module(f"kan_exp.exporting.{FORMATS[format][0]}").make(source)
    try:
        for name, text in made.companions.items():
            _write_companion(file.with_name(name), text)
        with replacing(file) as stream:
            stream.write(made.data)
    except OSError as error:
        reason = error.strerror or message_of(error)
        raise KanExpError(f"output: cannot write {path}: {reason}: name another file.") from error
    return made.lines


def _write_companion(path: Path, text: str) -> None:
    """Writes a file that the export needs; refuses to replace an unrelated one of its name."""
    if path.exists() and not path.read_text(errors="replace").startswith(text[:PREFIX]):
        raise KanExpError(
            f"output: {path} is there and is another file, which would be replaced: move it, or "
            f"name a file in another folder."
        )
    write_text(path, text)
