"""Sources of points: a target function, a table, or scikit-learn.

Each part is imported when it is first asked for: tables are read and checked without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kan_exp.lazy import attach

if TYPE_CHECKING:
    from kan_exp.data.arrays import ArrayData as ArrayData
    from kan_exp.data.base import ExperimentData as ExperimentData
    from kan_exp.data.equation import EquationData as EquationData
    from kan_exp.data.points import Scaling as Scaling
    from kan_exp.data.points import Split as Split
    from kan_exp.data.points import measure_scaling as measure_scaling
    from kan_exp.data.reading import read_table as read_table
    from kan_exp.data.sampled import SampledData as SampledData
    from kan_exp.data.schema import Column as Column
    from kan_exp.data.schema import Schema as Schema
    from kan_exp.data.sklearn import SklearnData as SklearnData
    from kan_exp.data.split_table import TableData as TableData
    from kan_exp.data.stream import StreamData as StreamData

_MODULES = {
    "ArrayData": "arrays",
    "Column": "schema",
    "EquationData": "equation",
    "ExperimentData": "base",
    "SampledData": "sampled",
    "Scaling": "points",
    "Schema": "schema",
    "SklearnData": "sklearn",
    "Split": "points",
    "StreamData": "stream",
    "TableData": "split_table",
    "measure_scaling": "points",
    "read_table": "reading",
}

__all__ = sorted(_MODULES)
__getattr__ = attach(__name__, _MODULES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
