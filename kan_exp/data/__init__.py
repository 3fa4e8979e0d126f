"""Where the points come from: a target function, a user's own table, or scikit-learn."""

from kan_exp.data.base import ExperimentData, Split
from kan_exp.data.sampled import SampledData
from kan_exp.data.sklearn import SklearnData
from kan_exp.data.table import TableData, read_table, score_rows

__all__ = [
    "ExperimentData",
    "SampledData",
    "SklearnData",
    "Split",
    "TableData",
    "read_table",
    "score_rows",
]
