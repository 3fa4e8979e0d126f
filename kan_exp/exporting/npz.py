"""A network as one npz file, and the files that evaluate it with NumPy alone."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kan_exp.data.columns import FloatArray
from kan_exp.data.ranges import marks
from kan_exp.errors import KanExpError
from kan_exp.exporting.describing import DATE_PARTS, about, is_plain
from kan_exp.exporting.fresh import as_arrays
from kan_exp.exporting.kan_columns import encode
from kan_exp.exporting.kan_predict import Model
from kan_exp.exporting.source import ExportedFile, Source
from kan_exp.exporting.tables import SplineTable, Tables, error_bound

LARGEST = 2**15 - 1  # of int16
EVALUATOR = Path(__file__).with_name("kan_predict.py")
ENCODER = Path(__file__).with_name("kan_columns.py")  # for columns that are no inputs as they are
FORMAT = 3  # of the file, which the evaluator reads


def make(source: Source) -> ExportedFile:
    """Arrays and a description in JSON, without pickled objects, compared with the model."""
    tables = as_stored(source.tables, source.dtype)
    data = _file(tables, source.dtype)
    lines = [_compared(source, tables, data), f"largest error: {_bound_text(tables)}"]
    files = [EVALUATOR] if is_plain(tables) else [EVALUATOR, ENCODER]
    rows = "row" if is_plain(tables) else "encode(model.about, row)"
    used = f"in Python: model = Model({source.name + '.npz'!r}); model({rows})"
    return ExportedFile(data, [*lines, used], {file.name: file.read_text() for file in files})


def _compared(source: Source, tables: Tables, data: bytes) -> str:
    """A line about the difference from the model.

    Raises:
        KanExpError: The network's outputs err by more than their bound.
    """
    model = Model(io.BytesIO(data))
    rows: Any = as_arrays(tables, source.rows)
    if not is_plain(tables):
        rows = encode(model.about, rows)
    expected = source.model.predict_outputs(source.rows).double().cpu().numpy()
    width = expected.shape[1]
    found = model.network(model.inputs(rows))[:, -width:]
    error = np.abs(found - expected).max(0, initial=0.0)
    if not (error <= tables.bound[-width:]).all():
        raise KanExpError(
            f"export: the tables err by {error.max():.2g}, more than their bound of "
            f"{tables.bound.max():.2g}: nothing is written."
        )
    return source.compare(model(rows), most=np.inf)


def _bound_text(tables: Tables) -> str:
    bound = float(tables.bound.max())
    if tables.activation == "identity" and not any(tables.scales):
        return f"{bound:.2g} standard deviations of {tables.schema.target_name}."
    return f"{bound:.2g} of an output before its link function."


def _file(tables: Tables, dtype: str) -> bytes:
    """The arrays of the evaluator, and a description."""
    low, high = marks(tables.ranges)
    std, mean, exponentials = _last_steps(tables)
    arrays: dict[str, NDArray[Any]] = {"low": low, "high": high, "y_std": std, "y_mean": mean}
    x_std, x_mean = tables.x_std, tables.x_mean
    for number, layer in enumerate(tables.layers):
        cells, scale = _rounded(layer, dtype)
        # Places in cells, of which the first is one more.
        slope = 1 / (layer.spacing * x_std)
        shift = 1 - (layer.first / layer.spacing + x_mean * slope)
        parts = {"grid": np.stack([slope, shift]), "cells": cells, "scale": scale}
        arrays |= {f"{name}{number}": part for name, part in parts.items()}
        arrays[f"products{number}"] = np.flatnonzero(layer.products)
        x_std, x_mean = np.ones(1), np.zeros(1)
    file = io.BytesIO()
    text = json.dumps(_description(tables) | {"exponentials": exponentials})
    arrays[f"about{FORMAT}"] = np.array(text)
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _last_steps(tables: Tables) -> tuple[FloatArray, FloatArray, list[tuple[int, float]]]:
    """Makes predictions of outputs: their factors, their shifts, and which are exponentials.

    The last is pairs of an output and what is subtracted from its exponential. With a link function
    an output is a logarithm, so that its standard deviation becomes a shift.

    Raises:
        KanExpError: The target of a link function has a logarithmic scale, too.
    """
    count = len(tables.names)
    std, mean = (np.broadcast_to(one, count) for one in (tables.y_std, tables.y_mean))
    if tables.activation == "identity":
        shifts = {"log": 0.0, "log1p": 1.0}
        exponentials = [(k, shifts[scale]) for k, scale in enumerate(tables.scales) if scale]
        return std, mean + tables.smearing, exponentials
    if any(tables.scales):
        raise KanExpError(
            f"format=npz: predictions of {tables.schema.target_name} are exponentials twice, by "
            f"their task and by data.scale: use format=onnx."
        )
    return np.ones(count), np.log(std), [*enumerate((-mean).tolist())]


def _description(tables: Tables) -> dict[str, Any]:
    """What the evaluator reads in addition to arrays, and what users may want to know."""
    found = about(tables)
    for column in found["columns"]:
        column["parts"] = [DATE_PARTS.index(name) for name in column.get("parts", [])] or [0]
        if column["kind"] == "date" and column["fill"] is not None:
            column["fill"] = int(column["fill"])
    return found | {"layers": len(tables.layers)}


def as_stored(tables: Tables, dtype: str) -> Tables:
    """The tables with the bound of their error as they are stored."""
    layers = []
    for layer in tables.layers:
        cells, scale = _rounded(layer, dtype)
        off = np.abs(cells * scale.astype(float) - layer.with_ends())  # (in, cells, powers, out)
        rounded = off[:, 1:-1].sum(2).max(1)
        # Outside, where edges are straight, the place in a cell can be larger than 1.
        ends = off[:, [0, -1], 0] + off[:, [0, -1], 1] * (1 + layer.beyond[:, None, None])
        error = layer.error + np.maximum(rounded, ends.max(1))
        layers.append(replace(layer, error=error))
    return replace(tables, layers=layers, bound=error_bound(layers))


def _rounded(layer: SplineTable, dtype: str) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Polynomials as stored, `(in, cells, powers, out)`, and what they are multiplied by."""
    cells: FloatArray = layer.with_ends()
    if dtype == "float32":
        return cells.astype(np.float32), np.ones((1, 1, 1, 1), dtype=np.float32)
    largest = np.abs(cells).max(1, keepdims=True)
    scale = np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32)
    return np.round(cells / scale).clip(-LARGEST, LARGEST).astype(np.int16), scale
