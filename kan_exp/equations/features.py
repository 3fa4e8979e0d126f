"""What a network reads in the place of the inputs, such as a period or a graded scale."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kan_exp.equations.derivatives import Key, derivative
from kan_exp.equations.reading import Ranges
from kan_exp.errors import KanExpError, suggest
from kan_exp.targets import Formula

if TYPE_CHECKING:
    from torch import Tensor

PLACES = 2001  # of an input between which features are taken to change evenly


class Features:
    """Formulas of one input each.

    A network has the periods and symmetries of what it reads. Where formulas are steep there are
    more knots, and more points.

    Args:
        inputs: Names of the inputs.
        given: By the name of an input a formula of it, or several; others are read as they are.

    Attributes:
        columns: What the network reads.

    Raises:
        KanExpError: A name is no input, or a formula cannot be read.
    """

    def __init__(self, inputs: Sequence[str], given: Any) -> None:
        if not isinstance(given, Mapping):
            raise KanExpError(
                f"pde.features must have formulas by the names of inputs, such as "
                f"{{{inputs[0]}: 'asinh(100*{inputs[0]})'}}, got {given!r}."
            )
        for name in given:
            if name not in inputs:
                hint = suggest(str(name), inputs)
                raise KanExpError(f"pde.features.{name}: there is no such input.{hint}")
        self.texts: dict[str, list[str]] = {}
        for name in inputs:
            texts = name if given.get(name) is None else given[name]
            several = isinstance(texts, Sequence) and not isinstance(texts, str)
            self.texts[name] = [*map(str, texts if several else [texts])]
            if not self.texts[name]:
                raise KanExpError(f"pde.features.{name} must have a formula of {name}, got [].")
        self.formulas = [
            (place, Formula(text, [name], option=f"pde.features.{name}"))
            for place, (name, texts) in enumerate(self.texts.items())
            for text in texts
        ]
        self.columns = tuple(formula.text for _, formula in self.formulas)
        self._known: dict[Any, dict[int, tuple[float, float, Tensor]]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """What the network reads at points, `(n, in)` -> `(n, columns)`."""
        import torch

        return torch.stack([formula(x[:, [place]]) for place, formula in self.formulas], -1)

    def jets(self, x: Tensor, keys: Iterable[Key]) -> dict[Key, Tensor]:
        """Derivatives at points, `(n, columns)` each, but for those that are zero everywhere."""
        import torch

        made = {}
        for key in keys:
            parts = [
                derivative(formula, x[:, [place]], (0,) * len(key))
                if {place} >= {*key}
                else torch.zeros_like(x[:, 0])
                for place, formula in self.formulas
            ]
            if not key or any(part.any() for part in parts):
                made[key] = torch.stack(parts, -1)
        return made

    def ends(self, ranges: Ranges) -> Tensor:
        """Smallest and largest values of each column, `(columns, 2)`.

        Raises:
            KanExpError: A formula is constant, or not finite, on the range of its input.
        """
        import torch

        values = self(_along(ranges))
        ends = torch.stack([*torch.aminmax(values, dim=0)], -1)
        names = [name for name, texts in self.texts.items() for _ in texts]
        for name, text, column in zip(names, self.columns, ends.tolist(), strict=True):
            low, high = column
            if not -math.inf < low < high < math.inf:
                what = "constant" if low == high else "not finite everywhere"
                start, stop = ranges[name]
                raise KanExpError(
                    f"pde.features.{name}: {text} is {what} for {name} from {start:g} to {stop:g}."
                )
        return ends

    def grade(self, x: Tensor, ranges: Ranges) -> Tensor:
        """Moves points that are even in the inputs to where features change, `(n, in)`.

        Half of them stay even, the others are even in the features.
        """
        import torch

        x = x.clone()
        for place, (low, high, masses) in self._masses(ranges).items():
            share, masses = (x[:, place] - low) / (high - low), masses.to(x)
            before = masses.cumsum(0) - masses
            cell = torch.searchsorted(before, share.contiguous(), right=True) - 1
            moved = low + (cell + (share - before[cell]) / masses[cell]) * (high - low) / len(
                masses
            )
            ends = (share <= 0) | (share >= 1)  # where conditions hold
            x[:, place] = x[:, place].where(ends, moved.clamp(low, high))
        return x

    def sizes(self, x: Tensor, ranges: Ranges) -> Tensor:
        """The part of the domain of each graded point relative to the mean one, `(n,)`."""
        import torch

        sizes = torch.ones_like(x[:, 0])
        for place, (low, high, masses) in self._masses(ranges).items():
            cell = (x[:, place] - low) / (high - low) * len(masses)
            cell = cell.long().clamp(0, len(masses) - 1)
            sizes = sizes / (len(masses) * masses.to(x)[cell])
        return sizes

    def _masses(self, ranges: Ranges) -> dict[int, tuple[float, float, Tensor]]:
        """The range and the share of points in each of many cells, by places of graded inputs."""
        if (asked := tuple(ranges.values())) in self._known:  # as in each step of gradients
            return self._known[asked]
        changes = self(_along(ranges)).diff(dim=0).abs()
        changes = changes / changes.sum(0)
        made = self._known[asked] = {}
        for place, (name, texts) in enumerate(self.texts.items()):
            if texts != [name]:
                own = changes[:, [place == other for other, _ in self.formulas]].mean(1)
                made[place] = (*ranges[name], (own + 1 / len(own)) / 2)
        return made


def _along(ranges: Ranges) -> Tensor:
    """Places along all ranges at once, `(PLACES, in)`."""
    import torch

    return torch.stack([torch.linspace(*ends, PLACES).double() for ends in ranges.values()], -1)
