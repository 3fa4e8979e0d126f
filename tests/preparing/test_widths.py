"""What `dims` leaves to the data."""

from __future__ import annotations

import pytest

from kan_exp.config import RunConfig, SmoothingConfig, choice
from kan_exp.errors import KanExpError
from kan_exp.preparing.widths import check_dims, check_multiply, resolve_widths

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
    resolve_widths(config, 4, 2)
    assert config.dims == expected
    chooses = options.get("dims", 0) is None and config.smooths and expected == [4, 5, 2]
    assert config.smoothing.choose is (True if chooses else None)


def test_without_dims_there_are_at_most_two_kinds():
    config = RunConfig(dims=None, layers=[choice("layer", "mlp")] * 3)
    with pytest.raises(KanExpError, match=r"dims=null cannot know .* set dims=\[auto,5,5,auto\]"):
        resolve_widths(config, 4, 1)


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


@pytest.mark.parametrize("multiply", [None, [], [3], [0, 1], [1, 0]])
def test_layers_multiply_at_most_all_of_their_outputs(multiply):
    check_multiply(multiply, [2, 3, 1])


@pytest.mark.parametrize(
    ("multiply", "message"),
    [
        ([1, 1, 1], "multiply=[1,1,1] has 3 numbers, but dims=[2,3,1] has 2 layers"),
        ([4], "multiply=[4]: layer 1 of dims=[2,3,1] has 3 outputs"),
        ([0, 2], "multiply=[0,2]: layer 2 of dims=[2,3,1] has 1 outputs"),
    ],
)
def test_more_products_than_outputs_are_refused(multiply, message):
    with pytest.raises(KanExpError) as caught:
        check_multiply(multiply, [2, 3, 1])
    assert str(caught.value).startswith(message)
