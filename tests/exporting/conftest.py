"""Models without a training: random networks behind columns of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from kan_exp.data.points import Scaling
from kan_exp.data.schema import Column, Schema
from kan_exp.layers import LayerSpec, find_layer, make_network
from kan_exp.models.model import KANModel

# Few cells: random coefficients of many would make edges too steep for float32.
SIZES = {"KANSplineLayer": {"num_intervals": 8}, "KANInterpoLayer": {"num_x": 9}}
DAY = 86_400_000_000  # microseconds
PLACES = ("Rome", 'Lima "x"', "Oslo's")


def columns(rows: int = 300, seed: int = 0) -> pl.DataFrame:
    """Columns of every kind, with gaps and names that no language takes for its own."""
    draws = np.random.default_rng(seed)
    number = draws.normal(size=rows)
    number[:30] = np.nan
    days = draws.uniform(-40_000, 40_000, rows)  # from 1860 to 2079
    return pl.DataFrame(
        {
            "double */": draws.lognormal(size=rows),
            'the "b"': pl.Series(number).fill_nan(None),
            "city": pl.Series([None if k % 9 == 0 else PLACES[k % 3] for k in range(rows)]),
            "when, it was": pl.Series((days * DAY).astype(int)).cast(pl.Datetime("us")),
            "größe": draws.integers(0, 2, rows).astype(float),
        }
    )


def mixed_schema(outputs: tuple[Column, ...], dates: bool = True) -> tuple[Schema, pl.DataFrame]:
    """A schema that has been fitted, and its rows."""
    frame = columns()
    inputs = (
        Column("double */", scale="log"),
        Column('the "b"', impute=True),
        Column("city", "category", impute=True),
        *([Column("when, it was", "date")] if dates else []),
        Column("größe", "boolean"),
    )
    fitted = tuple(column.fit(frame[column.name]) for column in inputs)
    return Schema(tuple(column for column in fitted if column), outputs), frame


def network(kind: str, dims: list[int], seed: int = 0, **options: Any) -> torch.nn.Sequential:
    """A random network whose edges are curved."""
    generator = torch.Generator().manual_seed(seed)
    options = SIZES.get(kind, {}) | options
    made = make_network(LayerSpec(find_layer(f"kan_exp.layers.{kind}"), options), dims, generator)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made


def mixed_model(
    outputs: tuple[Column, ...] = (Column("y"),),
    width: int = 1,
    kind: str = "KANSplineLayer",
    dates: bool = True,
    names: tuple[str, ...] = (),
    **options: Any,
) -> KANModel:
    """A network of a masked layer with a product and a straight edge, on columns of all kinds."""
    schema, frame = mixed_schema(outputs, dates)
    count = len(schema.features)
    made = network(kind, [count, 3, width])
    made[0].node_operation = ["sum", "sum", "product"]
    mask = torch.ones(count, 3, dtype=torch.bool)
    mask[1, 0] = mask[3:, 2] = False
    made[0].set_mask(mask)
    straight = torch.zeros(count, 3, dtype=torch.bool)
    straight[0, 1] = True
    made[0].straighten(straight)
    return complete(made, schema, torch.from_numpy(schema.encode(frame)), names, **options)


def complete(
    made: torch.nn.Sequential,
    schema: Schema,
    x: torch.Tensor,
    names: tuple[str, ...] = (),
    **options: Any,
) -> KANModel:
    """A model of a network, which has seen the points `x`."""
    width = made[-1].dim_out
    std = x.std(0)
    scaling = Scaling(
        x.mean(0), std, torch.full((width,), 0.3).double(), torch.full((width,), 0.8).double()
    )
    if schema.classes:
        scaling = scaling._replace(y_mean=torch.zeros(1), y_std=torch.ones(1))
    model = KANModel(
        made,
        scaling,
        schema,
        output_names=names,
        **options,
    )
    model.observe(x)
    return model.eval().requires_grad_(False)


CLASSES = (Column("y", "class", levels=("a", "b c", "ü")),)
TWO = (Column("y", "class", levels=("no", "yes")),)
MODELS: dict[str, dict[str, Any]] = {
    "number": {},
    "classes": {"outputs": CLASSES, "width": 3, "activation": "classes"},
    "two classes": {"outputs": TWO, "activation": "classes"},
    "count": {"activation": "exp", "kind": "KANInterpoLayer"},
    "log": {"outputs": (Column("y", scale="log"),), "smearing": (0.1,)},
    "two outputs": {
        "outputs": (Column("y", scale="log1p"), Column("z")),
        "width": 2,
        "smearing": (0.1, 0.0),
    },
    "quantiles": {
        "outputs": (Column("y", scale="log"),),
        "width": 2,
        "names": ("y 5%", "y 95%"),
    },
}


@pytest.fixture(params=MODELS, scope="session")
def model(request) -> KANModel:
    return mixed_model(**MODELS[request.param])
