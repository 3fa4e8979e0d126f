"""Damped steps by a QR factorisation, for systems whose normal matrix is too ill-conditioned.

The normal matrix squares the condition number of the Jacobian. The triangular factor does not, at
several times the cost.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from kan_exp.optimizers.penalties import Expansion


def triangular_factor(blocks: Iterable[tuple[Tensor, Tensor]], count: int) -> Tensor:
    """The factor R of `[J r] / sqrt(count)`, one block of samples after the other.

    Args:
        blocks: Rows of the Jacobian `(replicas, rows, parameters)` and residuals
            `(replicas, rows)`.
        count: What the squares are divided by.

    Returns:
        `(replicas, at most parameters + 1, parameters + 1)`.
    """
    factor: Tensor | None = None
    for jacobian, residuals in blocks:
        rows = torch.cat([jacobian, residuals.unsqueeze(2)], dim=2) / count**0.5
        rows = rows if factor is None else torch.cat([factor, rows], dim=1)
        factor = torch.linalg.qr(rows, mode="r").R
    assert factor is not None
    return factor


def damped_step(factor: Tensor, penalty: Expansion, added: Tensor) -> Tensor:
    """`-(J' J / count + C + diag(added))^-1 (J' r / count + s)`, for a penalty's `C` and `s`.

    Args:
        factor: From `triangular_factor`.
        penalty: The penalty around the present parameters.
        added: What damping adds to the diagonal, `(replicas, parameters)`, above 0.

    Source:
        Nocedal and Wright, Numerical Optimization, 2006, section 10.3 (10.40 to 10.42).
    """
    rows = [factor, _beside_zeros(torch.diag_embed((penalty.diagonal + added).sqrt()))]
    if penalty.matrix is not None:
        values, vectors = torch.linalg.eigh(penalty.matrix)
        rows.append(_beside_zeros((vectors * values.clamp(min=0).sqrt().unsqueeze(1)).mT))
    whole = torch.linalg.qr(torch.cat(rows, dim=1), mode="r").R
    size = added.shape[1]
    square, right = whole[:, :size, :size], whole[:, :size, size:]
    pull = torch.linalg.solve_triangular(square.mT, penalty.slope.unsqueeze(2), upper=False)
    return -torch.linalg.solve_triangular(square, right + pull, upper=True).squeeze(2)


def _beside_zeros(matrix: Tensor) -> Tensor:
    """Adds a column of zeros, the place of the residuals."""
    return functional.pad(matrix, (0, 1))
