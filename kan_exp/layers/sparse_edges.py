"""Which edges of a layer exist, which are straight lines, and what each output does with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kan_exp.layers.nodes import PRODUCT, SUM, product_outputs, reduce_edges

OPTIONAL = ("mask", "products", "straight", "lines", "limits")


class SparseEdges(nn.Module):
    """What distinguishes the edges of a layer from each other, the base of `EdgeLayer`.

    All exist, none is a straight line, and all outputs are sums unless one of these is set.

    Args:
        dim_in: Number of inputs.
        dim_out: Number of outputs.

    Shape:
        Buffer `mask` `(dim_in, dim_out)`: which edges exist, `None` if all do (see `set_mask`).
        Buffer `straight` `(dim_in, dim_out)`: which edges are straight lines, and parameter `lines`
        `(2, dim_in, dim_out)`: their slopes and offsets; both `None` if none was straightened.
        Buffer `limits` `(dim_in, 2)`: beyond which edges are straight lines, `None` for no limits.

    Attributes:
        straight_beyond: Whether edges of this kind are straight lines far outside of themselves.
    """

    domain: Tensor
    mask: Tensor | None
    products: Tensor | None  # which outputs are products, (dim_out,); None if all are sums
    straight: Tensor | None
    lines: nn.Parameter | None
    limits: Tensor | None
    straight_beyond: ClassVar[bool] = False

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.dim_in, self.dim_out = dim_in, dim_out
        self.mask, self.products, self.straight, self.lines = None, None, None, None
        self.limits = None

    def reduce(self, edges: Tensor) -> Tensor:
        """Reduces the values of the edges to outputs, `(..., in, out)` -> `(..., out)`."""
        return reduce_edges(edges, self.mask, self.products)

    @property
    def sums_all_edges(self) -> bool:
        """Whether all edges exist, none is straightened and all outputs are sums."""
        return self.mask is None and self.straight is None and self.products is None

    @property
    def node_operation(self) -> tuple[str, ...]:
        """What each output does with its edges: "sum" or "product".

        Can be set to one word for all outputs or to one for each. Like a mask, it is part of the
        state dict if any output is a product.
        """
        products = [False] * self.dim_out if self.products is None else self.products.tolist()
        return tuple(PRODUCT if product else SUM for product in products)

    @node_operation.setter
    def node_operation(self, operations: str | Sequence[str]) -> None:
        products = product_outputs(type(self).__name__, operations, self.dim_out)
        self._set_optional("products", products)

    def set_mask(self, mask: Tensor | None) -> None:
        """Chooses the edges that exist; the others contribute nothing and get no gradient.

        Args:
            mask: Booleans `(dim_in, dim_out)`, or `None` for all edges. A mask is part of the state
                dict, from which `load_state_dict` sets and removes it.

        Raises:
            ValueError: The mask has another shape or another dtype.
        """
        if mask is not None:
            self._check_mask(mask)
        self._set_optional("mask", mask)

    def set_limits(self, limits: Tensor | None) -> None:
        """Chooses a range of each input beyond which its edges are straight lines.

        They go on with the slope that they have over the last twentieth of it, which waves of an
        edge change little. This holds in evaluation mode alone: a training decides about edges
        where its points are. Kinds that are straight lines far outside of themselves have no
        limits.

        Args:
            limits: `(dim_in, 2)`, of a stack `(replicas, dim_in, 2)`, or `None` for no limits. Like
                a mask, they are part of the state dict.
        """
        if not self.straight_beyond:
            self._set_optional("limits", limits)

    @property
    def _is_limited(self) -> bool:
        return self.limits is not None and not self.training

    def _check_mask(self, mask: Tensor) -> None:
        shape = self.dim_in, self.dim_out
        if mask.shape != shape or mask.dtype != torch.bool:
            raise ValueError(
                f"{type(self).__name__} needs a mask of booleans of shape {shape}, "
                f"got {mask.dtype} of shape {tuple(mask.shape)}."
            )

    @property
    def exists(self) -> Tensor:
        """Which edges exist, `(dim_in, dim_out)`."""
        if self.mask is not None:
            return self.mask
        return self.domain.new_ones(self.dim_in, self.dim_out, dtype=torch.bool)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers of the edges that exist; a straight one has two."""
        exists = self.exists
        bent = exists if self.straight is None else exists & ~self.straight
        own = [part.numel() for name, part in self.named_parameters() if name != "lines"]
        count, edges = int(bent.sum()), bent.numel()
        # Those that belong to no edge, such as a bias for each output, are all counted.
        shared = [size for size in own if size % edges]
        each = sum(size // edges for size in own if size % edges == 0)
        return each * count + sum(shared) + 2 * (int(exists.sum()) - count)

    def _set_optional(self, name: str, value: Tensor | None) -> None:
        """Sets a buffer, or an attribute if it is None: `torch.export` miscounts empty buffers."""
        delattr(self, name)
        if value is None:
            setattr(self, name, None)
        elif name == "lines":
            if not isinstance(value, nn.Parameter):
                value = nn.Parameter(value.to(self.domain, copy=True))
            self.register_parameter(name, value)
        else:
            kind = self.domain if value.is_floating_point() else self.domain.device
            self.register_buffer(name, value.to(kind, copy=True))

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, metadata: Any, strict: bool, *lists: Any
    ) -> None:
        edges = self.dim_in, self.dim_out
        shapes = edges, edges[1:], edges, (2, *edges), (self.dim_in, 2)
        for name, own in zip(OPTIONAL, shapes, strict=True):
            value = state_dict.get(f"{prefix}{name}")
            if value is not None:  # that of a stacked layer has an axis of replicas in front
                shape = *value.shape[: -len(own)], *own
                dtype = None if name in ("lines", "limits") else torch.bool
                self._set_optional(name, value.new_ones(shape, dtype=dtype))
            elif strict:
                self._set_optional(name, None)
        super()._load_from_state_dict(state_dict, prefix, metadata, strict, *lists)

    @contextmanager
    def without_sparsity(self) -> Iterator[None]:
        """Takes away the mask, straight edges, product nodes and limits for a while."""
        before = {name: getattr(self, name) for name in OPTIONAL}
        try:
            for name in OPTIONAL:
                self._set_optional(name, None)
            yield
        finally:
            for name, value in before.items():
                self._set_optional(name, value)
