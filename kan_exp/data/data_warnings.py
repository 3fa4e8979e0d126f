"""What about a table may make its result worth less than it seems."""

from __future__ import annotations

import numpy as np
import torch

from kan_exp.data.columns import FloatArray, shown

FAR = 1000.0  # times the distance of the quartiles, from the median


def repeated_rows(train: torch.Tensor, test: torch.Tensor) -> list[str]:
    """Says how many test rows have the inputs of a training row; `(n, in)` each."""
    # Compared by their bits, which differ between 0 and -0 unless a 0 is added.
    known = {row.tobytes() for row in (train + 0.0).numpy()}
    repeated = sum(row.tobytes() in known for row in (test + 0.0).numpy())
    if not repeated:
        return []
    return [
        f"{repeated:,} of {len(test):,} test rows have the inputs of a training row: the test "
        "error says less about new rows than it seems."
    ]


def far_values(names: list[str], values: FloatArray) -> list[str]:
    """Names for each column `(n, columns)` the value that is farthest out, if it is very far."""
    lows, middles, highs = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    distances = np.abs(values - middles)
    found = []
    for at, name in enumerate(names):
        row = int(distances[:, at].argmax())
        spread = highs[at] - lows[at]
        count = int((distances[:, at] > FAR * spread).sum())
        if spread > 0 and count:
            also = f" (one of {count:,} so far out)" if count > 1 else ""
            found.append(
                f"column {shown(name)} has {values[row, at]:g} in row {row + 1:,}{also}, where "
                f"half of all rows are between {lows[at]:g} and {highs[at]:g}: "
                f"{'these decide' if count > 1 else 'that one decides'} the scale."
            )
    return found
