"""Formulas that a user types, read without running them.

The text is parsed with `ast` and translated, node by node from an allow-list, into a list of tensor
operations. Nothing in it is executed as Python, and torch is imported only to evaluate.
"""

from __future__ import annotations

import ast
import keyword
import math
import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from kan_exp.errors import KanExpError, listing, suggest

if TYPE_CHECKING:
    from torch import Tensor

MAX_CHARACTERS = 4000
MAX_NESTING = 50

CONSTANTS = {"pi": math.pi, "e": math.e}

_OF_ONE = "sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh exp log log2 log10 sqrt"
_OF_ONE += " square abs sign relu sigmoid erf"
# What a user writes: (the name below `torch`, the number of arguments). `log` is the natural one.
FUNCTIONS: dict[str, tuple[str, int]] = {
    **{name: (name, 1) for name in _OF_ONE.split()},
    "j0": ("special.bessel_j0", 1),
    "j1": ("special.bessel_j1", 1),
    "min": ("minimum", 2),
    "max": ("maximum", 2),
    "atan2": ("atan2", 2),
}

_SYNONYMS = {"ln": "log(x)", "pow": "x**2", "power": "x**2", "sgn": "sign(x)"}
_SYNONYMS |= {f"arc{name}": f"a{name}(x)" for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")}
_NOT_FINITE = ("nan", "inf", "infinity")

_OPERATORS: dict[type[ast.operator] | type[ast.unaryop], str] = {
    ast.Add: "add",
    ast.Sub: "sub",
    ast.Mult: "mul",
    ast.Div: "div",
    ast.Pow: "pow",
    ast.UAdd: "positive",
    ast.USub: "neg",
}

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORD = re.compile(r"[^\W\d]\w*")
_FOREIGN = re.compile(r"[^A-Za-z0-9_.+\-*/(), ]")
_INSTEAD = {
    "^": "write ** for powers",
    "=": "a formula is one expression, the right-hand side alone",
    "\N{GREEK SMALL LETTER PI}": "write pi",
    "\N{MINUS SIGN}": "write -",
    "\N{MULTIPLICATION SIGN}": "write *",
    "\N{MIDDLE DOT}": "write *",
    "\N{SUPERSCRIPT TWO}": "write **2",
}
_VOCABULARY = "a formula has numbers, names, + - * / **, parentheses and functions such as sin(x)"


class Step(NamedTuple):
    """One step of a stack machine: push a number or an input (arity 0), or apply `torch.<item>`."""

    item: float | str
    arity: int


class Formula:
    """A function of named inputs, written as text.

    It may hold numbers, `+ - * / **`, parentheses, `pi`, `e`, and the functions in `FUNCTIONS`.

    Args:
        text: One expression, such as `"exp(sin(pi*x) + y**2)"`.
        inputs: Names of the inputs, one per column; by default every name in the text, in the order
            in which it first appears there.
        option: The option in which the user wrote it, for errors.

    Shape:
        x `(n, in)` -> `(n,)`, in the dtype and on the device of x.

    Raises:
        KanExpError: The text is not such an expression, or its names are not the inputs.

    Attributes:
        steps: The formula in postfix order.
    """

    text: str
    inputs: tuple[str, ...]
    steps: tuple[Step, ...]

    def __init__(
        self, text: str, inputs: Sequence[str] | None = None, *, option: str = "formula"
    ) -> None:
        if not isinstance(text, str):
            raise KanExpError(
                f"{option} must be text, such as 'sin(pi*x)'. "
                f"Got {quote(text)} ({type(text).__name__}) instead."
            )
        self.text = text.strip()
        self._option = option
        self.steps = self._translate(self._parse())
        # A dict keeps the order and drops repetitions.
        pushed = (step.item for step in self.steps if step.arity == 0)
        names = tuple(dict.fromkeys(item for item in pushed if isinstance(item, str)))
        self.inputs = names if inputs is None else check_names(inputs)
        if not self.inputs:
            raise self._error("has no input: use at least one name, such as x")
        for name in names:
            if name not in self.inputs:
                raise self._error(
                    f"uses {quote(name)}, but its inputs are {listing(self.inputs)}: "
                    f"use only these.{suggest(name, self.inputs)}"
                )

    def __call__(self, x: Tensor) -> Tensor:
        if x.ndim != 2 or x.shape[1] != len(self.inputs) or not x.is_floating_point():
            raise ValueError(
                f"{self!r} takes a floating-point x of shape (n, {len(self.inputs)}), "
                f"got {tuple(x.shape)} of {x.dtype}."
            )
        columns = dict(zip(self.inputs, x.unbind(1), strict=True))
        # The copy keeps the formula "x" from handing out a view of its argument.
        return self.evaluate(columns, x).expand(len(x)).clone()

    def evaluate(self, columns: Mapping[str, Tensor], like: Tensor) -> Tensor:
        """The value where each input is a tensor of its own; numbers are made like another one."""
        import torch

        stack: list[Tensor] = []
        for item, arity in self.steps:
            if isinstance(item, float):
                # As a tensor: 9.0**9**9 is infinite at once.
                stack.append(torch.tensor(item, dtype=like.dtype, device=like.device))
            elif arity == 0:
                stack.append(columns[item])
            else:
                stack[-arity:] = [attrgetter(item)(torch)(*stack[-arity:])]
        return stack.pop()

    def __repr__(self) -> str:
        return f"Formula({self.text!r}, inputs={self.inputs!r})"

    def _parse(self) -> ast.expr:
        text = self.text
        if not text:
            raise self._error("is empty: write an expression, such as sin(pi*x)")
        if len(text) > MAX_CHARACTERS:
            raise self._error(f"has {len(text)} characters, more than {MAX_CHARACTERS}: shorten it")
        for word in _WORD.findall(text):
            if keyword.iskeyword(word):
                raise self._error(
                    f"uses the reserved word '{word}': {_VOCABULARY}; rename an input"
                )
        if foreign := _FOREIGN.search(text):
            character = foreign.group()
            name = unicodedata.name(character, "a special character")
            raise self._error(
                f"has {character!a} ({name.lower()}) at position {foreign.start() + 1}: "
                + _INSTEAD.get(character, _VOCABULARY)
            )
        try:
            with warnings.catch_warnings(action="ignore"):
                return ast.parse(text, mode="eval").body
        except (RecursionError, MemoryError):
            raise self._error("nests too deeply: simplify it") from None
        except (SyntaxError, ValueError) as error:
            opened, closed = text.count("("), text.count(")")
            if opened != closed:
                raise self._error(f"has {opened} '(' but {closed} ')': balance them") from None
            offset = getattr(error, "offset", None)
            raise self._error(
                f"cannot be read{f' at position {offset}' if offset else ''}: "
                "write every product with * and every call with parentheses, as in 2*sin(x)"
            ) from None

    def _translate(self, root: ast.expr) -> tuple[Step, ...]:
        """Turns the tree into postfix order, without recursion: no text can exhaust the stack."""
        steps: list[Step] = []  # backwards: each node before its children, the last one first
        todo = [(root, 1)]
        while todo:
            node, depth = todo.pop()
            if depth > MAX_NESTING:
                raise self._error(f"nests more than {MAX_NESTING} deep: simplify it")
            step, children = self._read(node)
            steps.append(step)
            for place, child in enumerate(children):
                # A long sum is a deep tree, yet a reader would not call it nested.
                same_level = isinstance(node, ast.BinOp) and place == 0
                todo.append((child, depth if same_level else depth + 1))
        return tuple(reversed(steps))

    def _read(self, node: ast.expr) -> tuple[Step, Sequence[ast.expr]]:
        """Translates one node; also returns its children."""
        match node:
            case ast.Constant(value=int() | float() as value):
                return Step(self._number(value), 0), ()
            case ast.Name(id=name) if name in CONSTANTS:
                return Step(CONSTANTS[name], 0), ()
            case ast.Name(id=name) if name in FUNCTIONS:
                raise self._error(f"uses the function '{name}' without arguments: write {name}(x)")
            case ast.Name(id=name) if name.lower() in _NOT_FINITE:
                raise self._error(
                    f"uses '{name}', which is no finite number: take it away, or rename an input"
                )
            case ast.Name(id=name):
                return Step(name, 0), ()
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _OPERATORS:
                return Step(_OPERATORS[type(sign)], 1), (operand,)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
                return Step(_OPERATORS[type(operator)], 2), (left, right)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(name, len(arguments)), arguments
            case ast.Call(func=ast.Attribute(attr=name)) if name in FUNCTIONS:
                raise self._error(f"calls '{name}' of a module: write {name}(x)")
        # The text is plain ASCII in one line, so offsets in bytes are offsets in characters.
        source = self.text[node.col_offset : node.end_col_offset]
        product = isinstance(node, ast.Call) and not isinstance(node.func, ast.Name | ast.Attribute)
        cure = "write every product with *, as in 2*(x+y)" if product else _VOCABULARY
        raise self._error(f"has {quote(source)}, which is not arithmetic: {cure}")

    def _number(self, value: float) -> float:
        # A literal such as 1e999 is already infinite; a long integer has no float at all.
        if abs(value) >= 2**1023:
            raise self._error("has a number too large for floating point: use a smaller one")
        return float(value)

    def _call(self, name: str, count: int) -> Step:
        if name not in FUNCTIONS:
            raise self._error(
                f"calls {quote(name)}, which is not a known function (to multiply, write *): "
                f"use one of {listing(FUNCTIONS, len(FUNCTIONS))}."
                + (f" Write {_SYNONYMS[name]}." if name in _SYNONYMS else suggest(name, FUNCTIONS))
            )
        path, arity = FUNCTIONS[name]
        if count != arity:
            got = f"{count} argument{'' if count == 1 else 's'}"
            example = f"{name}({', '.join('xy'[:arity])})"
            raise self._error(f"calls '{name}' with {got}, not {arity}: write {example}")
        return Step(path, arity)

    def _error(self, why: str) -> KanExpError:
        end = "" if why.endswith(("?", ".")) else "."
        return KanExpError(f"{self._option} {quote(self.text)} {why}{end}")


def check_names(names: Iterable[str], option: str = "inputs") -> tuple[str, ...]:
    """Checks that `names` can name the inputs of a formula."""
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise KanExpError(f"{option} must be a list of names. Got {quote(names)} instead.")
    for place, name in enumerate(names):
        if not isinstance(name, str) or not _NAME.fullmatch(name) or keyword.iskeyword(name):
            rule = "names of letters, digits and _, none of them reserved by Python"
        elif name in FUNCTIONS or name in CONSTANTS:
            rule = "names that no function or constant has"
        elif name in names[:place]:
            rule = "different names"
        else:
            continue
        raise KanExpError(f"{option} must be {rule}. Got {quote(name)}: rename it.")
    return tuple(names)


def is_word(name: str) -> bool:
    """Whether a formula can have an input of this name."""
    reserved = keyword.iskeyword(name) or name in FUNCTIONS or name in CONSTANTS
    return bool(_NAME.fullmatch(name)) and not reserved and name.lower() not in _NOT_FINITE


def quote(value: Any) -> str:
    """Quotes what a user wrote for a message: in ASCII, and cut short."""
    shown = ascii(value[:MAX_CHARACTERS] if isinstance(value, str) else value)
    return shown if len(shown) <= 62 else f"{shown[:57]}...{shown[0]}"
