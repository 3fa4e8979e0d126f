"""Finds the smallest network that predicts as well: edges removed, or made straight lines."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kan_exp.layers.importance import (
    GRADIENT,
    ablation_samples,
    edge_importance,
    errors_without_edges,
)
from kan_exp.layers.sparsity import Masks, count_edges, masks_of, thinned, without
from kan_exp.layers.walk import layers_of, walk, widths_of
from kan_exp.training.sparse_fit import Fitted, SparseFit
from kan_exp.training.starts import grid_layers

log = logging.getLogger(__name__)

COARSE = 8  # intervals of the grids on which edges are removed
STEPS = 6  # of the refit after an edge was removed
MAX_POINTS = 1000  # training points of these refits
MAX_TRIED = 6  # units, and single edges, that are tried in a round: those that matter least
SHARES = (2, 4, 8)  # 1 / share of the edges are removed at once
MANY, FEW_POINTS = 60, 300  # of more edges, only shares are tried, on so many points
SLACK = 1.2  # a larger removal is preferred if its error is no higher than the least by this factor
SLOW = 10  # tenths of seconds, about, in which edges are removed to measure errors without them
PATH_TIME = 0.6  # share of the time for the path from all edges to one
BETTER = 0.5  # a larger network is taken if its error is below this share
PATIENCE = 2  # larger networks that are tried although the last ones were no better
FRESH_EDGES = 24  # up to so many edges, structures are also trained anew, and edges made straight


@dataclass
class SparseSearch:
    """Removes edges and units, and makes edges straight, as the validation error allows.

    Edges are removed one after the other on coarse grids down to the last: each time the one whose
    removal raises the validation error least after a short refit. All structures on this path are
    then trained in full, from the smallest on, until one is as good as the network with all edges,
    which is trained to the end first: a network that has learned little allows nothing.

    Args:
        fit: What networks are fitted to.
        max_rise: The factor by which the validation error may rise.
    """

    fit: SparseFit
    max_rise: float

    def run(self, network: nn.Sequential) -> Fitted:
        """Returns the smallest network that is found, or that with all edges, in float64."""
        full = self.fit.fit(network, fresh=False)
        path = list(self._path(full.network))
        best = self._smallest(path, full)
        few = _edges(best.network) <= FRESH_EDGES
        return self._straightened(best) if few else best

    # -- from all edges to one -----------------------------------------------------------------

    def _path(self, network: nn.Sequential) -> Iterator[Fitted]:
        """Networks of fewer and fewer edges, trained on coarse grids."""
        clock, end = self.fit.clock, self.fit.clock.left * (1 - PATH_TIME)
        start = self.fit.resized(network, self._coarse(network))
        points = self._points(start)
        current = self.fit.refit([self._sparse(start)], 2 * STEPS, points)[0]
        yield current
        least = current.error
        while _edges(current.network) > 1 and clock.left > end:
            candidates = list(self._candidates(current.network))
            if not candidates:
                return
            tried = self._refitted(current.network, candidates)
            enough = max(self.max_rise * least, SLACK * min(one.error for one in tried))
            good = [one for one in tried if one.error <= enough]
            current = min(good, key=lambda one: (_edges(one.network), one.error))
            least = min(least, current.error)
            yield current

    def _points(self, network: nn.Sequential) -> int:
        """Training points of a refit on the path: those of the first stage of a training."""
        points = self.fit.recipe.stages[0].points or MAX_POINTS
        return min(points, FEW_POINTS) if _edges(network) > MANY else points

    def _coarse(self, network: nn.Sequential) -> int | None:
        """Intervals of the grids on which edges are removed; None to leave them as they are."""
        grids = grid_layers(network)
        counts = {layer.num_intervals for layer in grids}
        if len(counts) != 1 or len(grids) < len(layers_of(network)):
            return None
        (count,) = counts
        return next((n for n in range(COARSE, count) if count % n == 0), count)

    @staticmethod
    def _sparse(network: nn.Sequential) -> nn.Sequential:
        """The network with a mask in every layer, so that all that follow have the same tensors."""
        for layer, mask in zip(layers_of(network), masks_of(network), strict=True):
            layer.set_mask(mask)
        return network

    def _candidates(self, network: nn.Sequential) -> Iterator[Masks]:
        """Masks of connected networks with fewer edges."""
        masks, seen = masks_of(network), set[bytes]()
        for removed in self._removals(network, masks):
            if (clean := without(masks, removed, seen)) is not None:
                yield clean

    def _removals(
        self, network: nn.Sequential, masks: Masks
    ) -> Iterator[Iterable[tuple[int, int, int]]]:
        """Sets of edges to remove at once: the least important ones, units, and single edges."""
        errors = self._importances(network)
        edges = [
            (float(errors[layer][i, j]), (layer, i, j))
            for layer, mask in enumerate(masks)
            for i, j in mask.nonzero().tolist()
        ]
        order = [edge for _, edge in sorted(edges)]
        yield from (order[: len(order) // share] for share in SHARES)
        if len(order) > MANY:
            return
        units = []
        for layer, mask in enumerate(masks):
            for i in mask.any(1).nonzero().flatten().tolist():
                used = mask[i].nonzero().flatten().tolist()
                # About the error without all of them.
                least = max(float(errors[layer][i, j]) for j in used)
                units.append((least, [(layer, i, j) for j in used]))
        yield from (unit for _, unit in sorted(units)[:MAX_TRIED])
        yield from ([edge] for edge in order[:MAX_TRIED])

    def _importances(self, network: nn.Sequential) -> list[Tensor]:
        """The error without each edge or, if that takes long, a first-order estimate."""
        x = self.fit.validation.x
        if len(x) <= SLOW * ablation_samples(network):
            return errors_without_edges(network, x, self.fit.error_of)
        return edge_importance(network, x[:MAX_POINTS], method=GRADIENT)

    def _refitted(self, network: nn.Sequential, candidates: list[Masks]) -> list[Fitted]:
        """Networks with these masks after a short refit; those of one shape are trained at once."""
        specs = self.fit.present_specs(network)
        groups: dict[tuple[int, ...], list[nn.Sequential]] = {}
        for masks in candidates:
            made = thinned(network, specs, masks)
            groups.setdefault(tuple(widths_of(made)), []).append(made)
        points = self._points(network)
        return [one for group in groups.values() for one in self.fit.refit(group, STEPS, points)]

    # -- the smallest that is as good ----------------------------------------------------------

    def _smallest(self, path: list[Fitted], original: Fitted) -> Fitted:
        """The smallest structure that is as good as the original after a full training."""
        allowed = self.max_rise * original.error
        best, coarse, waited = original, float("inf"), 0
        for one in reversed(path):
            if self.fit.clock.is_over or waited >= PATIENCE:
                break
            if best is not original and one.error >= BETTER * coarse:
                waited += 1
                continue
            fitted = one
            if _edges(one.network) <= FRESH_EDGES:
                fitted = self.fit.fit(one.network)
            elif one.error > allowed:
                fitted = self.fit.fit(one.network, fresh=False)
            log.debug("%d edges: %.3g", _edges(one.network), fitted.error)
            if best is original:
                if fitted.error <= allowed:
                    best, coarse = fitted, one.error
                    if best.error < BETTER * original.error:  # a surprise, not to be surpassed
                        break
            elif fitted.error < BETTER * best.error:
                best, coarse, waited = fitted, one.error, 0
            else:
                waited += 1
        if best is original:  # what was good enough on coarse grids, as when time was short
            good = [one for one in path if one.error <= allowed]
            best = min(good, key=lambda one: _edges(one.network), default=original)
        return best

    # -- straight lines ------------------------------------------------------------------------

    def _straightened(self, best: Fitted) -> Fitted:
        """The network with as many straight edges as the validation error allows."""
        allowed = self.max_rise * best.error
        while not self.fit.clock.is_over:
            tried = self._straight_candidates(best.network)
            good = [one for one in tried if one.error <= allowed]
            if not good:
                return best
            best = min(good, key=lambda one: one.error)
        return best

    def _straight_candidates(self, network: nn.Sequential) -> list[Fitted]:
        made = []
        with torch.no_grad():
            inputs = [visit.inputs for visit in walk(network, self.fit.train.x)]
        masks = masks_of(network)
        straight = [
            torch.zeros_like(mask) if layer.straight is None else layer.straight
            for layer, mask in zip(layers_of(network), masks, strict=True)
        ]
        for number, mask in enumerate(masks):
            for i, j in (mask & ~straight[number]).nonzero().tolist():
                copied = copy.deepcopy(network)
                for place, layer in enumerate(layers_of(copied)):
                    chosen = straight[place].clone()
                    if place == number:
                        chosen[i, j] = True
                    layer.straighten(chosen, inputs[place])
                made.append(copied)
        return self.fit.refit(made, 2 * STEPS) if made else []


def _edges(network: nn.Sequential) -> int:
    return count_edges(masks_of(network))
