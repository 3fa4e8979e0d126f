"""The library: functions of one argument, by which curves are named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from kan_exp.symbolic.expression import Call, Expression, Input, exact

_u = Input(0)
_half = exact(0.5)
_wave = Call("sin", _u)
_e = Call("exp", _u)
LIBRARY: dict[str, Expression] = {
    "line": _u,
    "square": _u**2,
    "cube": _u**3,
    "fourth power": _u**4,
    "reciprocal": _u**-1,
    "reciprocal square": _u**-2,
    "square root": _u**_half,
    "reciprocal root": _u ** exact(-0.5),
    "power 3/2": _u ** exact(1.5),
    "exp": _e,
    "log": Call("log", _u),
    "sin": _wave,
    "sin squared": _wave**2,
    "tan": Call("tan", _u),
    "asin": Call("asin", _u),
    "acos": Call("acos", _u),
    "atan": Call("atan", _u),
    "sinh": Call("sinh", _u),
    "cosh": Call("cosh", _u),
    "tanh": Call("tanh", _u),
    "sech": Call("cosh", _u) ** -1,
    "abs": Call("abs", _u),
    "erf": Call("erf", _u),
    "gaussian": Call("exp", exact(-1) * _u**2),
    "lorentzian": (1 + _u**2) ** -1,
    "hypotenuse": (1 + _u**2) ** _half,
    "circle": (1 - _u**2) ** _half,
    "reciprocal circle": (1 - _u**2) ** exact(-0.5),
    "reciprocal hypotenuse": (1 + _u**2) ** exact(-0.5),
    "1/(1-u^2)": (1 - _u**2) ** -1,
    "log(1+u^2)": Call("log", 1 + _u**2),
    "atanh": Call("atanh", _u),
    "asinh": Call("asinh", _u),
    "Bose": (_e - 1) ** -1,
    "Planck": _u * (_e - 1) ** -1,
    "coth": Call("tanh", _u) ** -1,
    "sinc": _wave * _u**-1,
    "sinc squared": _wave**2 * _u**-2,
    "u exp(u)": _u * _e,
    "Doppler": ((1 + _u) * (1 - _u) ** -1) ** _half,
    "softplus": Call("log", 1 + _e),
}

# Functions of exp(u), for curves of hidden arguments: there a sum stands for a product.
COMPOUNDS: dict[str, Expression] = {
    "log(1-exp)": Call("log", 1 - _e),
    "sqrt(1-exp)": (1 - _e) ** _half,
    "sqrt(1+exp)": (1 + _e) ** _half,
    "1/sqrt(1-exp)": (1 - _e) ** exact(-0.5),
    "1/sqrt(1+exp)": (1 + _e) ** exact(-0.5),
    "(1+exp)^2": (1 + _e) ** 2,
    "(1+exp)^-2": (1 + _e) ** -2,
    "exp(exp)": Call("exp", _e),
    "exp(-exp)": Call("exp", exact(-1) * _e),
    "sin(exp)": Call("sin", _e),
    "cos(exp)": Call("cos", _e),
    "sin(exp)^2": Call("sin", _e) ** 2,
    "tanh(exp)": Call("tanh", _e),
    "sech(exp)": Call("cosh", _e) ** -1,
    "asin(exp)": Call("asin", _e),
    "atan(exp)": Call("atan", _e),
    "atanh(exp)": Call("atanh", _e),
    "Bose(exp)": (Call("exp", _e) - 1) ** -1,
    "Doppler(exp)": ((1 + _e) * (1 - _e) ** -1) ** _half,
}
FUNCTIONS = LIBRARY | COMPOUNDS
_OWN = "own "  # begins the keys of users' functions


@contextmanager
def with_functions(functions: Mapping[str, Expression]) -> Iterator[None]:
    """Adds functions of `Input(0)` to the library for a while; not for several threads at once."""
    own = {f"{_OWN}{name}": function for name, function in functions.items()}
    try:
        for known in (LIBRARY, FUNCTIONS):
            known.update(own)
        yield
    finally:
        for known in (LIBRARY, FUNCTIONS):
            for key in own:
                known.pop(key, None)


def own_functions() -> dict[str, Expression]:
    """The functions that are added at the moment."""
    own = (item for item in LIBRARY.items() if item[0].startswith(_OWN))
    return {name.removeprefix(_OWN): function for name, function in own}
