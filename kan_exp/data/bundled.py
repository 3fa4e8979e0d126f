"""Tables that ship with scikit-learn; nothing is downloaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kan_exp.errors import KanExpError, listing, suggest

if TYPE_CHECKING:
    from kan_exp.data.table import Table

# Two of these come with class numbers, which are names rather than quantities: there a measured
# column takes the place of the output.
OUTPUTS = {"diabetes": "progression", "iris": "petal width (cm)", "wine": "alcohol"}
WIDTHS = {"diabetes": 10, "iris": 3, "wine": 12}  # inputs


def check_name(name: object) -> str:
    """Checks the name of a set."""
    if name not in OUTPUTS:
        hint = suggest(str(name), OUTPUTS)
        raise KanExpError(f"data.name must be one of {listing(OUTPUTS)}, got {name!r}.{hint}")
    return str(name)


def load_table(name: str) -> Table:
    """One of scikit-learn's sets in its own units."""
    import numpy as np

    from kan_exp.data.schema import Schema
    from kan_exp.data.table import Table

    output = OUTPUTS[check_name(name)]
    try:
        from sklearn import datasets
    except ImportError:
        raise KanExpError("data=sklearn needs scikit-learn: pip install scikit-learn.") from None
    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    columns = dict(zip(bunch.feature_names, np.asarray(bunch.data, np.float64).T, strict=True))
    y = columns.pop(output, np.asarray(bunch.target, np.float64))
    x = np.column_stack(list(columns.values()))
    schema = Schema.of_numbers(columns, [output])
    return Table(f"scikit-learn's {name}", schema, x, y[:, None].copy())
