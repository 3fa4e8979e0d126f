"""What does not go together in a network and its training is refused before it is made."""

from __future__ import annotations

import pytest

from kan_exp.errors import KanExpError
from kan_exp.train import prepare


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (["layer=mlp", "layer.table_points=8"], "set optimizer=adam, or layer.table_points=0."),
        (
            ["layers=[{mlp: {table_points: 8}}]", "dims=[2,1]", "optimizer=lm"],
            "set optimizer=adam, or table_points=0.",
        ),
    ],
)
def test_tables_of_edges_do_not_go_with_least_squares(options, cure, tmp_path):
    with pytest.raises(KanExpError) as caught:
        prepare(options, tmp_path)
    assert "table_points=8 does not go with optimizer=lm" in str(caught.value)
    assert str(caught.value).endswith(cure)
