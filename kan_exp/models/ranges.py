"""The range of each input on which a network was trained."""

from __future__ import annotations

import numpy as np

from kan_exp.data.columns import FloatArray
from kan_exp.models.model import KANModel


def trained_ranges(model: KANModel) -> FloatArray:
    """Smallest and largest value of each input in training, `(in, 2)`, in the user's units.

    Checkpoints of early versions have no `bounds`: the ranges are then those that the first layer
    has observed.

    Returns:
        NaN where nothing is known.
    """
    if (bounds := model.description.get("bounds")) is not None:
        return np.array(bounds, dtype=np.float64)
    layers = model.edge_layers
    if not layers or layers[0] is not model.network[0]:
        return np.full((len(model.features), 2), np.nan)
    scale, shift = model.x_std.double()[:, None], model.x_mean.double()[:, None]
    return (layers[0].domain.detach().double() * scale + shift).cpu().numpy()
