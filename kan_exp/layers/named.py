"""Edges that are known functions, such as `sin(a x + b)`: the layers of a formula."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kan_exp.layers.base import EdgeLayer
from kan_exp.layers.rules import OneOf

NUMBERS = "abncd"  # of an edge `c f(a x + b) + d`; n is the number of the functions in `OF_TWO`
START = (1.0, 0.0, 1.0, 1.0, 0.0)


def _of_one(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda z, n: function(z)


_OF_ONE = "exp log sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh abs erf"
OF_TWO = ("power", "exponential")
FUNCTIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "identity": lambda z, n: z,
    "constant": lambda z, n: torch.ones_like(z),
    "power": torch.pow,
    "exponential": lambda z, n: torch.pow(n, z),
    **{name: _of_one(getattr(torch, name)) for name in _OF_ONE.split()},
}
KNOWN = OneOf(tuple(FUNCTIONS))
DIGITS = 4  # of numbers in labels


class KANNamedLayer(EdgeLayer):
    """Edges `c f(a x + b) + d`, each with a function f of `FUNCTIONS` of its own.

    `power` is `(a x + b)**n`, `exponential` is `n**(a x + b)`. Numbers are exact or trained.

    Args:
        functions: Of each edge that exists its input, its output, the name of its function, and
            which of the letters in `NUMBERS` are trained, as in `[[0, 0, "sin", "ac"]]`.

    Shape:
        Buffer `numbers` `(edges, 5)`: those of each edge, in the order of `functions` and of
        `NUMBERS`. Parameter `constants` `(k,)`: those that are trained, which replace the former.

    Raises:
        ValueError: An edge is there twice, or has an unknown input, output, function or letter.
    """

    numbers: Tensor
    _trained: Tensor
    _inputs: Tensor
    _cells: Tensor

    def __init__(
        self,
        dim_in: int,
        dim_out: int,
        functions: Sequence[Sequence[Any]],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(dim_in, dim_out, x_min=-1.0, x_max=1.0)
        self.functions = [self._checked(row) for row in functions]
        ends = [row[:2] for row in self.functions]
        if len({*ends}) < len(ends):
            raise ValueError(f"{type(self).__name__} needs one function for each edge, got {ends}.")
        mask = torch.zeros(dim_in, dim_out, dtype=torch.bool)
        cells = torch.full((dim_in * dim_out,), len(ends))
        for place, (i, j) in enumerate(ends):
            mask[i, j] = True
            cells[i * dim_out + j] = place
        self.set_mask(None if mask.all() else mask)
        # Edges of one function in a row are evaluated together.
        self._groups = [
            (*key, len([*rows]))
            for key, rows in itertools.groupby(self.functions, lambda row: (row[2], "n" in row[3]))
        ]
        trained = [
            place * len(NUMBERS) + NUMBERS.index(letter)
            for place, row in enumerate(self.functions)
            for letter in row[3]
        ]
        indices = {"_trained": trained, "_inputs": [i for i, _ in ends], "_cells": cells}
        for name, index in indices.items():
            index = torch.as_tensor(index, dtype=torch.long)
            self.register_buffer(name, index, persistent=False)
        self.register_buffer("numbers", torch.tensor(START).repeat(len(ends), 1))
        self.constants = nn.Parameter(self.numbers.flatten()[self._trained])

    def _checked(self, row: Sequence[Any]) -> tuple[int, int, str, str]:
        owner = type(self).__name__
        if len(row) != 4:
            raise ValueError(
                f"{owner} needs an input, an output, a function and letters of each edge, got "
                f"{list(row)} in functions."
            )
        i, j, name, trained = row
        KNOWN.check(owner, "functions", name)
        if i not in range(self.dim_in) or j not in range(self.dim_out):
            raise ValueError(f"{owner} has no edge ({i}, {j}), got {list(row)} in functions.")
        letters = NUMBERS if name in OF_TWO else NUMBERS.replace("n", "")
        once = isinstance(trained, str) and len({*trained}) == len(trained)
        if not once or not {*trained} <= {*letters}:
            raise ValueError(
                f"{owner} trains some of {letters!r} of {name}, each once, got {trained!r}."
            )
        return int(i), int(j), name, trained

    @torch.no_grad()
    def set_numbers(self, numbers: Tensor) -> None:
        """Sets all numbers, `(edges, 5)`, those that are trained, too."""
        self.numbers.copy_(numbers)
        self.constants.copy_(self.numbers.flatten()[self._trained])

    @property
    def present_numbers(self) -> Tensor:
        """`numbers` with those that are trained."""
        numbers = self.numbers
        return numbers.flatten().scatter(0, self._trained, self.constants).view(numbers.shape)

    @property
    def num_parameters(self) -> int:
        return len(self.constants)

    def edges(self, x: Tensor) -> Tensor:
        x = self._batch(x)
        a, b, n, c, d = self.present_numbers.unbind(1)
        argument = x.index_select(1, self._inputs) * a + b
        sizes = [size for *_, size in self._groups]
        parts = zip(self._groups, argument.split(sizes, 1), n.split(sizes), strict=True)
        # An exponent that is not trained needs no derivative, which is NaN for negative bases.
        found = [
            FUNCTIONS[name](z, own if trained else own.detach())
            for (name, trained, _), z, own in parts
        ]
        none = torch.zeros_like(x[:, :1])
        values = torch.cat([torch.cat(found, 1) * c + d, none], 1) if found else none
        return values.index_select(1, self._cells).unflatten(1, (self.dim_in, self.dim_out))

    def labels(self, names: Sequence[str]) -> list[list[str]]:
        labels = [[""] * self.dim_out for _ in range(self.dim_in)]
        numbers = self.present_numbers.tolist()
        for (i, j, function, _), own in zip(self.functions, numbers, strict=True):
            labels[i][j] = _label(function, names[i], *own)
        return labels

    def extra_repr(self) -> str:
        names = dict.fromkeys(name for *_, name, _ in self.functions)
        return f"{super().extra_repr()}, {', '.join(names)}"


def _label(function: str, name: str, a: float, b: float, n: float, c: float, d: float) -> str:
    """An edge as a formula of its input's name; "identity" for an edge that passes it on."""
    inner = _line(a, name, b)
    base = f"({inner})" if inner != name else inner
    if function == "identity" and (a, b, c, d) == (1, 0, 1, 0):
        return function
    if function == "constant":
        return _number(c + d)
    if function == "power":
        size = abs(n)
        text = f"sqrt({inner})" if size == 0.5 else f"{base}**{_number(size)}"
        text = base if size == 1 else text
        if n < 0:
            over = "-1" if c == -1 else _number(c)
            return _line(1, f"{over}/{text}", d)
    elif function == "exponential":
        text = f"{_number(n)}**{base}"
    else:
        text = base if function == "identity" else f"{function}({inner})"
    return _line(c, text, d)


def _line(slope: float, text: str, offset: float) -> str:
    if slope < 0 < offset:
        return f"{_number(offset)} - {_line(-slope, text, 0)}"
    if slope == -1:
        text = f"-{text}"
    elif slope != 1:
        text = f"{_number(slope)}*{text}"
    return f"{text} {'-' if offset < 0 else '+'} {_number(abs(offset))}" if offset else text


def _number(value: float) -> str:
    turns = value / math.pi
    if value and turns.is_integer():
        return _line(turns, "pi", 0)
    return f"{value:.{DIGITS}g}"
