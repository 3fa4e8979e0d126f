"""Damped steps by a QR factorization, which does not square the condition number."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional

from kan_exp.optimizers.penalties import Expansion


def triangular_factor(blocks: Iterable[tuple[Tensor, ...]], count: int) -> Tensor:
    """The factor R of `[J r] / sqrt(count)`, from one block of samples after the other.

    Args:
        blocks: Rows of the Jacobian `(replicas, rows, parameters)`, residuals `(replicas, rows)`,
            and anything else.
        count: The squares are divided by this.

    Returns:
        `(replicas, at most parameters + 1, parameters + 1)`.
    """
    factor: Tensor | None = None
    for jacobian, residuals, *_ in blocks:
        rows = torch.cat([jacobian, residuals.unsqueeze(2)], dim=2) / count**0.5
        rows = rows if factor is None else torch.cat([factor, rows], dim=1)
        factor = torch.linalg.qr(rows, mode="r").R
    assert factor is not None
    return factor


def damped_step(factor: Tensor, penalty: Expansion, added: Tensor) -> Tensor:
    """`-(J' J / count + C + diag(added))^-1 (J' r / count + s)`, for a penalty's `C` and `s`.

    Args:
        factor: From `triangular_factor`.
        penalty: The penalty around the current parameters.
        added: Diagonal of the damping, `(replicas, parameters)`, above 0.

    Source:
        Nocedal and Wright, Numerical Optimization, 2006, section 10.3 (10.40 to 10.42).
    """
    blocks = [torch.diag_embed((penalty.diagonal + added).sqrt())]
    if penalty.matrix is not None:
        values, vectors = torch.linalg.eigh(penalty.matrix)
        blocks.append((vectors * values.clamp(min=0).sqrt().unsqueeze(1)).mT)
    rows = [factor, *(functional.pad(block, (0, 1)) for block in blocks)]  # residuals of zero
    triangle = torch.linalg.qr(torch.cat(rows, dim=1), mode="r").R
    size = added.shape[1]
    square, right = triangle[:, :size, :size], triangle[:, :size, size:]
    shift = torch.linalg.solve_triangular(square.mT, penalty.slope.unsqueeze(2), upper=False)
    return -torch.linalg.solve_triangular(square, right + shift, upper=True).squeeze(2)
