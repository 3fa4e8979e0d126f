"""The same small problem, model and trainer as in the tests of the training."""

from tests.training.conftest import make_data, make_model, make_trainer

__all__ = ["make_data", "make_model", "make_trainer"]
