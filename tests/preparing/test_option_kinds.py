"""Options whose kinds are known from the signature of what they make."""

from __future__ import annotations

from typing import Any, Optional

import pytest
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger

from kan_exp.errors import KanExpError
from kan_exp.options import check_options
from kan_exp.training.experiment import raised_in_lightning


def make(one: str, two: str | None = None, three: Optional[str] = "a", four: str = "b") -> None:  # noqa: UP045
    """Every way to write that an option is text."""


@pytest.mark.parametrize("option", ["one", "two", "three", "four"])
@pytest.mark.parametrize(
    ("value", "cure"),
    [(3, "write 'it.OPTION=\"3\"'"), (True, "write 'it.OPTION=\"true\"'"), ([1], "got [1].")],
)
def test_what_is_no_text_is_refused_where_one_is_wanted(option: str, value: Any, cure: str):
    with pytest.raises(KanExpError, match=f"^it.{option} must be text") as error:
        check_options("it", make, {option: value})
    assert cure.replace("OPTION", option) in str(error.value)


def test_texts_and_nulls_are_taken():
    check_options("it", make, {"one": "", "two": None, "three": None, "four": "3"})
    check_options("logger", CSVLogger, {"save_dir": "a", "name": None, "version": 3})


def test_only_what_lightning_raises_itself_is_an_answer_to_the_user():
    with pytest.raises(RuntimeError) as error:
        EarlyStopping("nothing")._validate_condition_metric({})
    assert raised_in_lightning(error.value)
    with pytest.raises(ZeroDivisionError) as other:
        _ = 1 / 0
    assert not raised_in_lightning(other.value)
