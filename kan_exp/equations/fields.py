"""What the function of an equation is given: values of an unknown function and its derivatives."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_SIGNS = ("neg", "pos", "abs")
_ARITHMETIC = ("add", "sub", "mul", "truediv", "pow", "mod")
_COMPARISONS = ("lt", "le", "gt", "ge")


class Field:
    """An unknown function at many points: a tensor, whose derivatives are attributes.

    `u` itself takes part in arithmetic and in functions of torch; `u.dxx` is a tensor.

    Args:
        value: At the points.
        derivative: From a name such as `dxx` to the values of that derivative.
    """

    def __init__(self, value: Tensor, derivative: Callable[[str], Tensor]) -> None:
        self.value, self._derivative = value, derivative

    def __getattr__(self, name: str) -> Tensor:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._derivative(name)

    def __bool__(self) -> bool:
        return bool(self.value)  # of many points torch refuses it

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        named = {name: _plain(value) for name, value in (kwargs or {}).items()}
        return function(*_plain(args), **named)


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_plain, value))
    return value.value if isinstance(value, Field) else value


def _add_operators() -> None:
    for name in (*_SIGNS, *_ARITHMETIC, *_COMPARISONS):
        operate = getattr(operator, name)

        def alone(self: Field, operate: Any = operate) -> Any:
            return operate(self.value)

        def forward(self: Field, other: Any, operate: Any = operate) -> Any:
            return operate(self.value, _plain(other))

        def backward(self: Field, other: Any, operate: Any = operate) -> Any:
            return operate(_plain(other), self.value)

        setattr(Field, f"__{name}__", alone if name in _SIGNS else forward)
        if name in _ARITHMETIC:
            setattr(Field, f"__r{name}__", backward)


_add_operators()
