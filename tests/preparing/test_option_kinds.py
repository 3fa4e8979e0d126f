"""Options whose kinds are known from the signature of what they make."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Optional

import pytest
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import CSVLogger

from kan_exp.errors import KanExpError
from kan_exp.options import check_attributes, check_options
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


class Solved:
    """Attributes as those of a differential equation."""

    names: Sequence[str]
    parts: Sequence[dict]
    values: Mapping[str, float]
    weight: float
    inside: str | None


@pytest.mark.parametrize("value", [3, 0.5, math.nan, True, "abc", [1, "x"], {"a": 1}])
@pytest.mark.parametrize("option", ["names", "parts", "values", "weight", "inside"])
def test_attributes_of_another_type_are_named(option: str, value: Any):
    fitting = {"parts": list, "values": dict, "weight": (int, float), "inside": str}
    if isinstance(value, fitting.get(option, ())) and value is not True and value == value:
        check_attributes("pde", Solved, {option: value})
        return
    with pytest.raises(KanExpError, match=rf"^pde\.{option} must be (a|text)"):
        check_attributes("pde", Solved, {option: value})


def test_null_and_lists_of_names_are_taken():
    check_attributes("pde", Solved, {"names": ["u", "v"], "parts": None, "weight": None, "new": 1})


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
