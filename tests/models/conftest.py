"""The same small problem, model and trainer as in the tests of the training; a table of pyarrow."""

from tests.training.conftest import make_data, make_model, make_trainer

__all__ = ["ArrowTable", "make_data", "make_model", "make_trainer"]


class ArrowTable:
    """What pyarrow.Table has of a table."""

    def __init__(self, frame):
        self.column_names, self.columns = frame.columns, frame.get_columns()
        self.__arrow_c_stream__ = frame.__arrow_c_stream__
