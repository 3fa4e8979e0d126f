"""Measured data that ship with scikit-learn; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kan_exp.data.table import DealtData, Table
from kan_exp.errors import KanExpError, listing, suggest

# Two of these come with class numbers, which are names rather than quantities: there a measured
# column takes the place of the output.
OUTPUTS = {"diabetes": "progression", "iris": "petal width (cm)", "wine": "alcohol"}


def load_table(name: str) -> Table:
    """One of scikit-learn's sets in its own units.

    Raises:
        KanExpError: The name is unknown, or scikit-learn is not installed.
    """
    if name not in OUTPUTS:
        hint = suggest(str(name), OUTPUTS)
        raise KanExpError(f"data.name must be one of {listing(OUTPUTS)}, got {name!r}.{hint}")
    try:
        from sklearn import datasets
    except ImportError:
        raise KanExpError("data=sklearn needs scikit-learn: pip install scikit-learn") from None
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    target = OUTPUTS[name]
    names = list(bunch.feature_names)
    x = np.asarray(bunch.data, dtype=np.float64)
    columns = x.shape[1] + 1
    if target in names:
        at = names.index(target)
        names.remove(target)
        x, y = np.delete(x, at, axis=1), x[:, at].copy()
    else:
        y = np.asarray(bunch.target, dtype=np.float64)
    return Table(f"scikit-learn's {name}", tuple(names), target, x, y, columns)


class SklearnData(DealtData):
    """One of scikit-learn's own sets.

    `diabetes` (442 rows) predicts the disease's progression, `iris` (150) a petal's width from the
    other three measurements, `wine` (178) the alcohol from the other twelve.

    Args:
        name: `diabetes`, `iris` or `wine`.
        fractions: Share of the rows for training, validation and test; they sum to 1.
        seed: Decides which rows go where.

    Raises:
        KanExpError: As `load_table` and `DealtData` do.
    """

    def __init__(self, name: str, fractions: Sequence[float], seed: int) -> None:
        super().__init__(load_table(name), fractions, seed)
