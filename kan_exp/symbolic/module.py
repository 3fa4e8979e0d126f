"""Formulas as torch modules."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor, nn

from kan_exp.symbolic.expression import Call, Constant, Expression, Input, Power, Product, Sum


class FormulaModule(nn.Module):
    """A formula whose free constants can be trained further.

    It is no `EdgeLayer`: a formula may use an input twice, multiply, and nest to any depth, which
    a stack of layers cannot hold without edges that do nothing.

    Args:
        expression: The formula.
        names: Of its inputs.

    Shape:
        x `(n, in)` -> `(n, 1)`; parameter `constants` `(k,)`, float64.
    """

    constants: Tensor

    def __init__(self, expression: Expression, names: tuple[str, ...]) -> None:
        super().__init__()
        self.expression, self.names = expression, names
        self.constants = nn.Parameter(torch.from_numpy(expression.constants.copy()))

    def forward(self, x: Tensor) -> Tensor:
        free = iter(self.constants.unbind())

        def visit(node: Expression) -> Tensor:
            # A plain exponent keeps gradients finite at 0; `**` of two tensors needs a logarithm.
            if isinstance(node, Power) and isinstance(node.exponent, Constant):
                base = visit(node.base)
                power = next(free) if node.exponent.free else node.exponent.value
                return base**power
            below = [visit(child) for child in node.children()]
            match node:
                case Constant(value):
                    number = next(free) if node.free else x.new_tensor(value)
                    return number.expand(x.shape[0])  # traced, unlike `len`
                case Input(index):
                    return x[:, index]
                case Sum():
                    return reduce(torch.add, below)
                case Product():
                    return reduce(torch.mul, below)
                case Power():
                    return below[0] ** below[1]
                case Call(name):
                    called: Tensor = getattr(torch, name)(below[0])
                    return called
            raise TypeError(node)

        return visit(self.expression)[:, None]

    def extra_repr(self) -> str:
        return f"{', '.join(self.names)}; {len(self.constants)} constants"
