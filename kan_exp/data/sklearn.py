"""Measured data that ship with scikit-learn; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kan_exp.data.checks import sklearn_width
from kan_exp.data.schema import Schema
from kan_exp.data.split_options import RANDOM, SplitOptions
from kan_exp.data.split_table import SplitTableData
from kan_exp.data.table import Table
from kan_exp.errors import KanExpError

# Two of these come with class numbers, which are names rather than quantities: there a measured
# column takes the place of the output.
OUTPUTS = {"diabetes": "progression", "iris": "petal width (cm)", "wine": "alcohol"}


class SklearnData(SplitTableData):
    """One of scikit-learn's own sets in its own units.

    `diabetes` (442 rows) predicts the disease's progression, `iris` (150) a petal's width from the
    other three measurements, `wine` (178) the alcohol from the other twelve.

    Args:
        name: `diabetes`, `iris` or `wine`.
        fractions: See `SplitOptions` for this, `seed` and the options after it.

    Raises:
        KanExpError: The name is unknown, or scikit-learn is not installed.
    """

    def __init__(
        self,
        name: str,
        fractions: Sequence[float],
        seed: int,
        split: str = RANDOM,
        folds: int | None = None,
        repeats: int = 1,
    ) -> None:
        sklearn_width(name)
        output = OUTPUTS[name]
        try:
            from sklearn import datasets
        except ImportError:
            raise KanExpError(
                "data=sklearn needs scikit-learn: pip install scikit-learn."
            ) from None
        options = {"scaled": False} if name == "diabetes" else {}
        bunch = getattr(datasets, f"load_{name}")(**options)
        columns = dict(zip(bunch.feature_names, np.asarray(bunch.data, np.float64).T, strict=True))
        y = columns.pop(output, np.asarray(bunch.target, np.float64))
        x = np.column_stack(list(columns.values()))
        schema = Schema.of_numbers(columns, [output])
        table = Table.of_arrays(f"scikit-learn's {name}", schema, x, y[:, None])
        super().__init__(table, SplitOptions(fractions, seed, split, folds=folds, repeats=repeats))
