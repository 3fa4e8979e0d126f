"""What turns the outputs of a network into predictions, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kan_exp.errors import KanExpError, listing

if TYPE_CHECKING:
    from torch import Tensor


# Functions of their own names, so that a model that has one can be pickled.
def _identity(outputs: Tensor) -> Tensor:
    return outputs


def _sigmoid(outputs: Tensor) -> Tensor:
    return outputs.sigmoid()


def _softmax(outputs: Tensor) -> Tensor:
    return outputs.softmax(-1)


def _exp(outputs: Tensor) -> Tensor:
    return outputs.exp()


def _chances(logits: Tensor) -> Tensor:
    """Probabilities `(n, K)` of classes; a single logit is that of the second of two."""
    if logits.shape[-1] > 1:
        return logits.softmax(-1)
    import torch

    return torch.cat([(-logits).sigmoid(), logits.sigmoid()], dim=-1)


# From standardized outputs `(n, out)` to standardized predictions.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": _identity,
    "sigmoid": _sigmoid,
    "softmax": _softmax,
    "classes": _chances,
    "exp": _exp,
}


def find_activation(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of a name.

    Raises:
        KanExpError: There is none.
    """
    if name not in ACTIVATIONS:
        raise KanExpError(
            f"there is no output activation {name!r}. Choose from: {listing(ACTIVATIONS)}."
        )
    return ACTIVATIONS[name]
