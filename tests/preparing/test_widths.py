"""What `dims` leaves to the data."""

from __future__ import annotations

import pytest

from kan_exp.config import RunConfig, SmoothingConfig, choice
from kan_exp.errors import KanExpError
from kan_exp.preparing.widths import check_dims, settle_widths

REML = SmoothingConfig(method="reml")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [4, 5, 2]),
        ({"dims": ["auto", 3, 3, "auto"]}, [4, 3, 3, 2]),
        ({"dims": [7, "auto"]}, [7, 2]),  # the check of the data refuses the 7
        ({"dims": [2, 5, 1]}, [2, 5, 1]),
        ({"dims": None}, [4, 9, 2]),
        ({"dims": None, "smoothing": REML}, [4, 5, 2]),
        (
            {"dims": None, "smoothing": REML, "optimizer": choice("optimizer", "sgd", lr=1)},
            [4, 9, 2],
        ),
        ({"dims": None, "smoothing": REML, "layers": choice("layer", "linear")}, [4, 2]),
        ({"dims": None, "layers": [choice("layer", "mlp")]}, [4, 2]),
    ],
    ids=str,
)
def test_widths_are_those_of_the_data(options, expected):
    config = RunConfig(**options)
    settle_widths(config, 4, 2)
    assert config.dims == expected
    chooses = options.get("dims", 0) is None and config.smooths and expected == [4, 5, 2]
    assert config.smoothing.choose is (True if chooses else None)


def test_without_dims_there_are_at_most_two_kinds():
    config = RunConfig(dims=None, layers=[choice("layer", "mlp")] * 3)
    with pytest.raises(KanExpError, match=r"dims=null cannot know .* set dims=\[auto,5,5,auto\]"):
        settle_widths(config, 4, 1)


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (["auto", "auto", 1], "only the first and the last width can be auto"),
        (["auto"], "needs at least an input and an output width"),
        (["auto", 0, "auto"], "every width must be at least 1"),
        (["auto", 2.5, 1], "must be a whole number, got 2.5"),
        (["automatic", 5, 1], "must be a whole number, got automatic"),
    ],
)
def test_other_widths_are_refused(dims, message):
    with pytest.raises(KanExpError, match=message):
        check_dims(dims)
