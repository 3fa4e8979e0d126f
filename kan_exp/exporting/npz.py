"""A network as one npz file, and the file that evaluates it with NumPy alone."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kan_exp.errors import KanExpError
from kan_exp.exporting.describing import about
from kan_exp.exporting.fresh import as_arrays
from kan_exp.exporting.kan_predict import Model
from kan_exp.exporting.source import Made, Source
from kan_exp.exporting.tables import SplineTable, Tables, basis_polynomials, error_bound

ARRAYS = ("first", "spacing", "table", "scale", "basis", "products")
LARGEST = 2**15 - 1  # of int16
EVALUATOR = Path(__file__).with_name("kan_predict.py")


def make(source: Source) -> Made:
    """Arrays and a description in JSON, without pickled objects, compared with the model."""
    tables = as_stored(source.tables, source.dtype)
    file = io.BytesIO()
    _write(source.tables, tables, file, source.dtype)
    data = file.getvalue()
    lines = [_compared(source, tables, data), f"largest error: {_bound_text(tables)}"]
    return Made(data, lines, {EVALUATOR.name: EVALUATOR.read_text()})


def _compared(source: Source, tables: Tables, data: bytes) -> str:
    """A line about the difference from the model.

    Raises:
        KanExpError: The network's outputs err by more than their bound.
    """
    model = Model(io.BytesIO(data))
    x = model.encode(as_arrays(tables, source.rows))
    y = model.network((x - model.x_mean) / model.x_std)
    expected = source.model.predict_outputs(source.rows).double().cpu().numpy()
    error = np.abs(y - expected).max(0, initial=0.0)
    if not (error <= tables.bound).all():
        raise KanExpError(
            f"export: the tables err by {error.max():.2g}, more than their bound of "
            f"{tables.bound.max():.2g}: nothing is written."
        )
    return source.compare(model.decode(y), most=np.inf)


def _bound_text(tables: Tables) -> str:
    bound = float(tables.bound.max())
    if tables.activation == "identity" and not any(tables.scales):
        return f"{bound:.2g} standard deviations of {tables.target}."
    return f"{bound:.2g} of an output before its link function."


def _write(tables: Tables, stored: Tables, file: BinaryIO, dtype: str) -> None:
    """Writes the arrays of tables, and about them what holds as they are stored."""
    arrays: dict[str, NDArray[Any]] = {
        name: getattr(tables, name) for name in ("x_mean", "x_std", "y_mean", "y_std")
    }
    for number, layer in enumerate(tables.layers):
        parts = _parts(layer, dtype)
        arrays |= {f"{name}{number}": part for name, part in zip(ARRAYS, parts, strict=True)}
    description = about(stored) | {"arrays": ARRAYS, "layers": len(tables.layers)}
    np.savez_compressed(file, about=np.array(json.dumps(description)), **arrays)  # type: ignore[arg-type]


def as_stored(tables: Tables, dtype: str) -> Tables:
    """The tables as they come back from the file, with the bound of their error."""
    layers = []
    for layer in tables.layers:
        _, _, table, scale, *_ = _parts(layer, dtype)
        back = (table * scale).astype(np.float64)
        # The functions of a cell add up to 1: an edge errs by no more than its coefficients, and
        # its slope by no more than twice that a cell.
        rounded = np.abs(back - layer.coefficients).max(1) * (1 + 2 * layer.beyond[:, None])
        error = layer.error + rounded
        layers.append(replace(layer, coefficients=back, error=error))
    return replace(tables, layers=layers, bound=error_bound(layers))


def _parts(layer: SplineTable, dtype: str) -> Sequence[NDArray[Any]]:
    """The arrays of a layer, named by `ARRAYS`."""
    coefficients = layer.coefficients
    scale = np.ones((1, 1, 1), dtype=np.float32)
    table = coefficients.astype(np.float32)
    if dtype == "int16":
        largest = np.abs(coefficients).max(1, keepdims=True)
        scale = np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32)
        table = np.round(coefficients / scale).clip(-LARGEST, LARGEST).astype(np.int16)
    basis = basis_polynomials(layer.degree)
    return layer.first, layer.spacing, table, scale, basis, layer.products
