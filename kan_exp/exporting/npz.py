"""A network as one npz file, and the file that evaluates it with NumPy alone."""

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
from kan_exp.data.schema import PARTS
from kan_exp.errors import KanExpError
from kan_exp.exporting.describing import about
from kan_exp.exporting.fresh import as_arrays
from kan_exp.exporting.kan_predict import FORMAT, Model
from kan_exp.exporting.source import Made, Source
from kan_exp.exporting.tables import SplineTable, Tables, error_bound

LARGEST = 2**15 - 1  # of int16
EVALUATOR = Path(__file__).with_name("kan_predict.py")
DATE_PARTS = [name for names in PARTS.values() for name in names]  # in the evaluator's order


def make(source: Source) -> Made:
    """Arrays and a description in JSON, without pickled objects, compared with the model."""
    tables = as_stored(source.tables, source.dtype)
    data = _file(tables, source.dtype)
    lines = [_compared(source, tables, data), f"largest error: {_bound_text(tables)}"]
    return Made(data, lines, {EVALUATOR.name: EVALUATOR.read_text()})


def _compared(source: Source, tables: Tables, data: bytes) -> str:
    """A line about the difference from the model.

    Raises:
        KanExpError: The network's outputs err by more than their bound.
    """
    model = Model(io.BytesIO(data))
    rows = as_arrays(tables, source.rows)
    y = model.network(model.encode(rows))[:, -len(tables.bound) :]
    expected = source.model.predict_outputs(source.rows).double().cpu().numpy()
    error = np.abs(y - expected).max(0, initial=0.0)
    if not (error <= tables.bound).all():
        raise KanExpError(
            f"export: the tables err by {error.max():.2g}, more than their bound of "
            f"{tables.bound.max():.2g}: nothing is written."
        )
    return source.compare(model(rows), most=np.inf)


def _bound_text(tables: Tables) -> str:
    bound = float(tables.bound.max())
    if tables.activation == "identity" and not any(tables.scales):
        return f"{bound:.2g} standard deviations of {tables.target}."
    return f"{bound:.2g} of an output before its link function."


def _file(tables: Tables, dtype: str) -> bytes:
    """The arrays of the evaluator, and a description."""
    low, high = marks(tables.ranges)
    arrays: dict[str, NDArray[Any]] = {"low": low, "high": high}
    arrays |= {"y_std": tables.y_std, "y_mean": tables.y_mean + tables.smearing}
    size, mean = tables.x_std, tables.x_mean
    for number, layer in enumerate(tables.layers):
        cells, scale = _rounded(layer, dtype)
        products = np.flatnonzero(layer.products)
        if _has_one_logit(tables) and number == len(tables.layers) - 1:
            # The logit of the other class is 0.
            cells = np.pad(cells, ((0, 0), (0, 0), (0, 0), (1, 0)))
            scale = np.pad(scale, ((0, 0), (0, 0), (0, 0), (1, 0)))
            products = products + 1
        # Places in cells, of which the first is one more.
        slope = 1 / (layer.spacing * size)
        shift = 1 - (layer.first / layer.spacing + mean * slope)
        parts: dict[str, NDArray[Any]] = {
            "cells": cells,
            "scale": scale,
            "slope": slope,
            "shift": shift,
        }
        inputs, exponents = np.arange(len(cells)), np.arange(cells.shape[2])
        parts |= {"inputs": inputs, "exponents": exponents, "products": products}
        arrays |= {f"{name}{number}": part for name, part in parts.items()}
        size, mean = np.ones(1), np.zeros(1)
    file = io.BytesIO()
    text = json.dumps(_description(tables))
    np.savez_compressed(file, about=np.array(text), **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def _has_one_logit(tables: Tables) -> bool:
    return tables.activation == "classes" and len(tables.layers[-1].products) == 1


def _description(tables: Tables) -> dict[str, Any]:
    """What the evaluator reads beside arrays, and what users may want to know."""
    found = about(tables)
    for column in found["columns"]:
        column["parts"] = [DATE_PARTS.index(name) for name in column.get("parts", [])] or [0]
        column["scale"] = column["scale"] or "positive"
        if column["kind"] == "date" and column["fill"] is not None:
            column["fill"] = int(column["fill"])
    shifts = {"log": 0, "log1p": 1}
    logarithms = [(k, shifts[scale]) for k, scale in enumerate(tables.scales) if scale]
    return found | {
        "format": FORMAT,
        "layers": len(tables.layers),
        "link": "softmax" if tables.activation == "classes" else tables.activation,
        "logarithms": logarithms,
    }


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
