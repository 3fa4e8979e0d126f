"""Removes inputs, units and edges of networks in which the data decide how smooth edges are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from torch import Tensor, nn

from kan_exp.layers.importance import errors_without_edges
from kan_exp.layers.sparsity import Masks, connected, count_edges, masks_of
from kan_exp.layers.walk import layers_of
from kan_exp.training.sparse_fit import SparseFit

MAX_SINGLE = 30  # edges, up to which single ones are tried


class Retrained(NamedTuple):
    """A network that was trained anew.

    Args:
        checkpoint: What `model_from` reads.
        module: What has trained it.
        errors: The validation error with all edges, and that of this network.
    """

    checkpoint: dict[str, Any]
    module: Any
    errors: tuple[float, float]


@dataclass
class SmoothSearch:
    """Removes one input, unit or edge after the other, those that matter least first.

    After each the network is trained anew on the training points alone; it stays removed if the
    validation error allows it. Only then the network sees the validation points, too.

    Args:
        train: Trains a network of given widths and masks; returns its experiment, or None if a
            signal has come.
        fit: Measures errors; its clock ends the search.
        max_rise: The factor by which the validation error may rise.
    """

    train: Callable[[Sequence[int], Sequence[Tensor]], Any]
    fit: SparseFit
    max_rise: float

    def run(self, network: nn.Sequential) -> Retrained | None:
        """The network with as few edges as the error allows; None if time was too short."""
        layers = layers_of(network)
        dims = [layers[0].dim_in, *(layer.dim_out for layer in layers)]
        masks = self._used(network)
        first = self._trained(dims, masks)
        if first is None:
            return None
        best, (experiment, error) = masks, first
        kept, allowed = first, self.max_rise * error
        seen = set()
        for removed in self._removals(network, masks):
            made = [mask.clone() for mask in best]
            for layer, i, j in removed:
                made[layer][i, j] = False
            clean = connected(made)
            if clean is None or count_edges(clean) == count_edges(best):
                continue
            if (key := tuple(mask.numpy().tobytes() for mask in clean)) in seen:
                continue
            seen.add(key)
            if self.fit.clock.is_over or (tried := self._trained(dims, clean)) is None:
                break
            if tried[1] <= allowed:
                best, kept = clean, tried
        experiment = kept[0]
        return Retrained(experiment.best.checkpoint, experiment.module, (error, kept[1]))

    def _trained(self, dims: Sequence[int], masks: Masks) -> tuple[Any, float] | None:
        experiment = self.train(dims, masks)
        if experiment is None or experiment.module.validated is None:
            return None
        return experiment, self.fit.error_of_loss(experiment.module.validated[0])

    def _used(self, network: nn.Sequential) -> Masks:
        """The edges that are not 0 everywhere: units of curves lead to their output alone."""
        masks = []
        x = self.fit.train.x
        for layer, mask in zip(layers_of(network), masks_of(network), strict=True):
            edges = layer.edges(x)
            masks.append(mask & (edges != 0).any(0))
            x = layer.reduce(edges)
        return connected(masks) or masks_of(network)

    def _removals(
        self, network: nn.Sequential, masks: Masks
    ) -> Iterator[list[tuple[int, int, int]]]:
        """Inputs, then hidden units, then edges, each from the least important on."""
        errors = errors_without_edges(network, self.fit.validation.x, self.fit.error_of)
        for layer, mask in enumerate(masks):
            if layer == 1:
                yield from self._units(mask, errors[1])
                continue
            known = errors[0].where(mask, -float("inf"))
            for i in known.amax(1).argsort().tolist():
                if edges := [(0, i, int(j)) for j in mask[i].nonzero().flatten()]:
                    yield edges
        if count_edges(masks[:1]) <= MAX_SINGLE:
            order = errors[0].where(masks[0], float("inf")).flatten().argsort().tolist()
            for place in order[: count_edges(masks[:1])]:
                yield [(0, *divmod(place, masks[0].shape[1]))]

    @staticmethod
    def _units(mask: Tensor, errors: Tensor) -> Iterator[list[tuple[int, int, int]]]:
        """Hidden units; the first ones are the curves of the outputs."""
        hidden = range(mask.shape[1], mask.shape[0])
        for unit in sorted(hidden, key=lambda unit: float(errors[unit].nan_to_num(-1).max())):
            if edges := [(1, unit, int(j)) for j in mask[unit].nonzero().flatten()]:
                yield edges
