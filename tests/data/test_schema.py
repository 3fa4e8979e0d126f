"""The schema that is stored with a model comes back as it was."""

from __future__ import annotations

import json

import pytest

from kan_exp.data import Column, SampledData, Schema
from kan_exp.targets import Target


def test_a_schema_comes_back_from_plain_containers():
    schema = Schema.of_numbers(["rooms", "${age}"], ["price", "rent"])
    stored = json.loads(json.dumps(schema.describe()))
    assert Schema.restore({"schema": stored}) == schema
    assert (schema.features, schema.targets) == (("rooms", "${age}"), ("price", "rent"))
    assert schema.names == ("rooms", "${age}", "price", "rent")
    assert schema.target_name == "price, rent"


def test_a_checkpoint_of_an_earlier_version_has_columns_of_numbers():
    old = {"features": ["a", "b"], "target": "y"}
    assert Schema.restore(old) == Schema((Column("a"), Column("b")), (Column("y"),))


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"inputs": [{"name": "a"}]},
        {"inputs": ["a"], "outputs": []},
        {"inputs": [{"name": "a", "kind": "image"}], "outputs": []},
        {"inputs": [{"name": "a", "width": 3}], "outputs": []},
        {"inputs": [{"name": 5}], "outputs": []},
    ],
)
def test_other_content_is_refused(stored):
    with pytest.raises((LookupError, TypeError, ValueError)):
        Schema.restore({"schema": stored})


def test_names_of_data_are_those_of_the_schema():
    data = SampledData(Target("a*b"), 10, 5, 5, seed=0)
    assert data.schema == Schema.of_numbers(["a", "b"], ["f"])
    assert (data.features, data.target_name) == (("a", "b"), "f")
