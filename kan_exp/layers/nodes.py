"""How the edges of a layer become its outputs: masks, sums and products."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kan_exp.layers.rules import OneOf

SUM, PRODUCT = "sum", "product"
OPERATION = OneOf((SUM, PRODUCT))


def reduce_edges(
    edges: Tensor, mask: Tensor | None = None, products: Tensor | None = None
) -> Tensor:
    """Reduces the values of edges to outputs, `(..., in, out)` -> `(..., out)`.

    Args:
        edges: Values of the edges, 0 where the mask removes one.
        mask: Which edges exist, `(..., in, out)`; all if not given. The others are no factor of a
            product; a product without factors is 1.
        products: Which outputs are products, `(..., out)`; the others are sums. None if not given.
    """
    if products is None:
        return edges.sum(-2)
    multiplied = products.unsqueeze(-2)
    factors = multiplied if mask is None else multiplied & mask
    # What belongs to the other operation is neutral, so that it adds nothing to the gradients.
    product, total = edges.where(factors, 1).prod(-2), edges.where(~multiplied, 0).sum(-2)
    return torch.where(products, product, total)


def product_outputs(owner: str, operations: str | Sequence[str], dim_out: int) -> Tensor | None:
    """Which outputs are products, `(dim_out,)`; None if all are sums.

    Args:
        owner: The layer; error messages start with it.
        operations: "sum" or "product", for all outputs or for each.
        dim_out: Number of outputs.

    Raises:
        ValueError: A word is unknown, or there is not one for each output.
    """
    words = [operations] * dim_out if isinstance(operations, str) else list(operations)
    for word in words:
        OPERATION.check(owner, "node_operation", word)
    if len(words) != dim_out:
        raise ValueError(f"{owner} needs {dim_out} words in node_operation, got {len(words)}.")
    return torch.tensor([word == PRODUCT for word in words]) if PRODUCT in words else None
