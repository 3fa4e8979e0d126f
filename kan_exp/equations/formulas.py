"""Differential equations as text, such as `dt(u) + u*dx(u) - nu*dxx(u)`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import Any

from kan_exp.equations.derivatives import Key
from kan_exp.equations.problem import Problem
from kan_exp.equations.reading import read_names, read_numbers, read_ranges
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.targets import Formula
from kan_exp.targets.derivatives import read_derivative
from kan_exp.targets.formula import FUNCTIONS, Step, quote


class Expression(Formula):
    """A formula that may have derivatives of unknown functions, `dxx(u)`.

    Args:
        text: The formula.
        inputs: Names of the inputs.
        outputs: Names of the unknown functions; if not given, names are not checked.
        coefficients: Names of the coefficients.
        option: The option in which the user wrote it.

    Attributes:
        derivatives: Places of an unknown function and of the inputs, by the name in `inputs`.
        differentiated: Names of the functions of which there are derivatives, as they come.

    Raises:
        KanExpError: It cannot be read, or has a name or a derivative that is not known.
    """

    def __init__(
        self,
        text: str,
        inputs: Sequence[str],
        outputs: Sequence[str] | None,
        coefficients: Sequence[str],
        option: str,
    ) -> None:
        self._inputs, self._outputs = tuple(inputs), outputs
        self.derivatives: dict[str, tuple[str, Key]] = {}
        super().__init__(text, None, option=option)
        found = (self.derivatives[name][0] for name in self.inputs if name in self.derivatives)
        self.differentiated = tuple(dict.fromkeys(found))
        known = [*self._inputs, *(outputs or ()), *coefficients]
        for name in self.inputs if outputs is not None else ():
            if name not in known and name not in self.derivatives:
                raise self._error(
                    f"uses {quote(name)}, which is no input, unknown function or coefficient "
                    f"({listing(known)}): correct it, or set pde.coefficients.{name}."
                    f"{suggest(name, known)}"
                )

    def _parse(self) -> ast.expr:
        if "=" in self.text:
            raise self._error("has '=': write what is zero, the left side minus the right one")
        return super()._parse()

    def _read(self, node: ast.expr) -> tuple[Step, Sequence[ast.expr]]:
        match node:
            case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if (
                name not in FUNCTIONS and name.startswith("d")
            ):
                key = read_derivative(name, self._inputs)
                if key is None:
                    raise self._error(
                        f"has {quote(name)}, which is no derivative by {listing(self._inputs)}: "
                        f"write d{self._inputs[0]}(u), or d{2 * self._inputs[0]}(u) for the second"
                    )
                if not isinstance(argument, ast.Name) or argument.id in self._inputs:
                    source = self.text[argument.col_offset : argument.end_col_offset]
                    raise self._error(
                        f"derives {quote(source)}: only unknown functions are derived, as in "
                        f"{name}(u) and d{2 * self._inputs[0]}(u): apply the rules of "
                        f"differentiation to the rest"
                    )
                if self._outputs is not None and argument.id not in self._outputs:
                    raise self._error(
                        f"derives {quote(argument.id)}, but the unknown functions are "
                        f"{listing(self._outputs)}.{suggest(argument.id, self._outputs)}"
                    )
                label = f"{name}({argument.id})"
                self.derivatives[label] = argument.id, key
                return Step(label, 0), ()
        return super()._read(node)


class FormulaProblem(Problem):
    """A differential equation with its conditions, in formulas.

    Args:
        equation: The residual inside, zero for a solution: a formula, or a list of them for a
            system. Derivatives are `dx(u)`, `dxx(u)`, `dxt(u)`.
        conditions: A list of `{on, equation, weight}`, see `Condition`.
        outputs: Names of the unknown functions; those of which there are derivatives if not given.
        options: The other attributes of `Problem`.

    Raises:
        KanExpError: As `Problem`; or a formula cannot be read.
    """

    def __init__(
        self,
        equation: Any,
        conditions: Sequence[Any] | None = None,
        outputs: Sequence[str] | None = None,
        **options: Any,
    ) -> None:
        where, self.texts = "pde.equation", _texts("pde.equation", equation)
        names = list(read_ranges(options.get("inputs")))
        coefficients = list(read_numbers("pde.coefficients", options.get("coefficients")))
        given = read_names("pde.outputs", outputs)
        if not given:
            read = (Expression(text, names, None, coefficients, where) for text in self.texts)
            given = tuple(dict.fromkeys(name for one in read for name in one.differentiated))
        if not given:
            raise KanExpError(
                f"{where} {quote(self.texts[0])} has no derivative of an unknown function, such as "
                f"d{names[0]}(u)."
            )
        self._coefficient_names = coefficients
        self._equations = [
            Expression(text, names, given, coefficients, f"{where}[{k}]" if k else where)
            for k, text in enumerate(self.texts)
        ]
        super().__init__(outputs=given, conditions=conditions, **options)

    @property
    def summary(self) -> str:
        return "; ".join(f"{text} = 0" for text in self.texts)

    def interior(self, at: Any, *fields: Any) -> Any:
        return [_evaluate(self, one, at, fields) for one in self._equations]

    def condition_function(self, option: str, equation: Any) -> Callable[..., Any]:
        read = [
            Expression(text, self.names, self.outputs, self._coefficient_names, option)
            for text in _texts(option, equation)
        ]
        return lambda problem, at, *fields: [_evaluate(problem, one, at, fields) for one in read]


def _texts(option: str, equation: Any) -> list[str]:
    """One formula or several."""
    texts = list(equation) if isinstance(equation, list | tuple) else [equation]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise KanExpError(
            f"{option} must be a formula that is zero for a solution, such as 'dt(u) - dxx(u)', or "
            f"a list of them, got {quote(equation)}."
        )
    return texts


def _evaluate(problem: Problem, formula: Expression, at: Any, fields: Sequence[Any]) -> Any:
    import torch

    by_name = dict(zip(problem.outputs, fields, strict=True))
    like = fields[0].value
    columns = {}
    for name in formula.inputs:
        if name in formula.derivatives:
            function, _ = formula.derivatives[name]
            columns[name] = getattr(by_name[function], name.partition("(")[0])
        elif name in by_name:
            columns[name] = by_name[name].value
        elif name in problem.names:
            columns[name] = getattr(at, name)
        else:
            value = getattr(problem, name)
            columns[name] = value if isinstance(value, torch.Tensor) else like.new_tensor(value)
    return formula.evaluate(columns, like)
