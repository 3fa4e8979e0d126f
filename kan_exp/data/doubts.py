"""What about a table may make its result worth less than it seems."""

from __future__ import annotations

import numpy as np
import torch

from kan_exp.data.columns import FloatArray, shown

FAR = 1000.0  # times the distance of the quartiles, from the median


def repeated_rows(train: torch.Tensor, test: torch.Tensor) -> list[str]:
    """Says how many test rows have the inputs of a training row; `(n, in)` each."""
    known = {row.tobytes() for row in train.numpy()}
    repeated = sum(row.tobytes() in known for row in test.numpy())
    if not repeated:
        return []
    return [
        f"{repeated:,} of {len(test):,} test rows have the inputs of a training row: the test "
        "error says less about new rows than it seems."
    ]


def far_values(names: list[str], values: FloatArray) -> list[str]:
    """Names for each column `(n, columns)` the value that is far from all others, if there is."""
    lows, middles, highs = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    distances = np.abs(values - middles)
    found = []
    for at, name in enumerate(names):
        row = int(distances[:, at].argmax())
        spread = highs[at] - lows[at]
        if spread > 0 and distances[row, at] > FAR * spread:
            found.append(
                f"column {shown(name)} has {values[row, at]:g} in row {row + 1:,}, where half of "
                f"all rows are between {lows[at]:g} and {highs[at]:g}: that one decides the scale."
            )
    return found
