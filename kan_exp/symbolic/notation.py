"""Formulas as text, SymPy, LaTeX, and source of Python and C, with the user's names of inputs."""

from __future__ import annotations

import json
import keyword
import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from kan_exp.runs.printable import printable
from kan_exp.symbolic.expression import CALLS, Array, Expression, Input

if TYPE_CHECKING:
    from sympy import Expr, Symbol

# Simplifications of larger formulas could take minutes; a formula is then shown as it was found.
MAX_OPERATIONS = 80
MAX_FACTORED = 40
MAX_EXPANDED_POWER = 3
MAX_DIGITS = 10
SHORT = 10  # fractions of larger numbers are shown as decimals, if these end
PLAIN_DIGITS = 6  # of a constant whose error is not known
ROUNDING = 1e-12  # relative error of a constant that is no larger than that of float64
GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau"
GREEK += " phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
# What sources use, and what C and Python reserve.
RESERVED = {
    *CALLS,
    *("sqrt", "cbrt", "pow", "fabs", "numpy", "math", "formula", "erfc", "e", "pi", "E", "I"),
    *("auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else"),
    *("enum", "extern", "float", "for", "goto", "if", "inline", "int", "long", "register"),
    *("restrict", "return", "short", "signed", "sizeof", "static", "struct", "switch", "typedef"),
    *("union", "unsigned", "void", "volatile", "while", "main"),
    *keyword.kwlist,
    *keyword.softkwlist,
}


def rounded(value: float, error: float) -> str:
    """A constant in as many digits as its standard error leaves it, plus one."""
    return f"{value:.{_digits(value, error)}g}"


def with_error(value: float, error: float) -> str:
    """A constant and its standard error, such as `2.310 ± 0.012`.

    Without the error where that is no larger than rounding: the data have no noise.
    """
    if not (math.isfinite(error) and error > ROUNDING * abs(value)):
        return f"{value:.{MAX_DIGITS}g}"
    digits = f"{value:#.{_digits(value, error)}g}".replace(".e", "e").rstrip(".")
    return f"{digits} ± {f'{error:#.2g}'.rstrip('.')}"


def _digits(value: float, error: float) -> int:
    if not (math.isfinite(error) and error > 0) or value == 0:
        return PLAIN_DIGITS
    digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(error)) + 2
    return min(max(digits, 1), MAX_DIGITS)


class Notation:
    """A formula as it is written.

    Args:
        expression: The formula.
        names: Of its inputs, any text.
        errors: Standard errors of its free constants `(k,)`.
        positive: Of each input, whether it is above 0 in all data; simplifications rely on it.
    """

    def __init__(
        self,
        expression: Expression,
        names: Sequence[str],
        errors: Array,
        positive: Sequence[bool],
    ) -> None:
        self.expression, self.names, self.errors = expression, tuple(names), errors
        self.positive = tuple(positive)

    @cached_property
    def _simple(self) -> tuple[Expr, list[Symbol], list[Symbol]]:
        """The simplified formula, with symbols of its inputs and of its free constants."""
        import sympy

        constants, count = self.expression.constants, len(self.names)
        # The free constants become inputs, so that simplifications cannot round them.
        slots = [f"x{k}" for k in range(count + len(constants))]
        inputs_only = self.expression.with_constants(
            [Input(count + k) for k in range(len(constants))]
        )
        plain = inputs_only.sympy(slots)
        inputs = [
            sympy.Symbol(f"x{k}", real=True, positive=positive or None)
            for k, positive in enumerate(self.positive)
        ]
        free = [
            sympy.Symbol(f"c{k}", real=True, positive=bool(value > 0) or None)
            for k, value in enumerate(constants)
        ]
        symbols = map(sympy.Symbol, slots)
        return (
            simplified(plain.xreplace(dict(zip(symbols, inputs + free, strict=True)))),
            inputs,
            free,
        )

    def _filled(
        self,
        names: Sequence[str],
        digits: Callable[[float, float], str | float],
        **assumptions: bool,
    ) -> Expr:
        """The simplified formula in symbols of these names, with numbers as its constants."""
        import sympy

        expression, inputs, free = self._simple
        pairs = zip(self.expression.constants, self.errors, strict=True)
        numbers = [sympy.Float(float(digits(value, error))) for value, error in pairs]
        symbols = [sympy.Symbol(name, **assumptions) for name in names]
        swapped = dict(zip([*inputs, *free], [*symbols, *numbers], strict=True))
        return expression.xreplace(swapped)

    def sympy(self) -> Expr:
        """The simplified formula in plain symbols that have the names of the inputs."""
        return self._filled(self.names, lambda value, _: value)

    def text(self) -> str:
        """The formula in one line; names that could be mistaken are in backticks."""
        from sympy.printing.str import StrPrinter

        class Printer(StrPrinter):
            def _print_Float(self, number: Any) -> str:
                return f"{float(number):.{MAX_DIGITS}g}"

            def _print_Abs(self, call: Any) -> str:
                return f"abs({self._print(call.args[0])})"

            def _print_Symbol(self, symbol: Any) -> str:
                return shown[symbol.name]

        places = [f"x{k}" for k in range(len(self.names))]
        quoted = [name if _is_clear(name) else f"`{printable(name)}`" for name in self.names]
        shown = dict(zip(places, quoted, strict=True))
        return str(Printer().doprint(_with_decimals(self._filled(places, rounded))))

    def latex(self) -> str:
        """The right-hand side of the formula, for LaTeX and for matplotlib's mathtext."""
        from sympy.printing.latex import LatexPrinter

        class Printer(LatexPrinter):
            def _print_Float(self, number: Any) -> str:
                digits, _, power = f"{float(number):.{MAX_DIGITS}g}".partition("e")
                return rf"{digits} \cdot 10^{{{int(power)}}}" if power else digits

            def _print_Symbol(self, symbol: Any, style: str = "plain") -> str:
                return shown[symbol.name]

        places = [f"x{k}" for k in range(len(self.names))]
        shown = dict(zip(places, map(latex_name, self.names), strict=True))
        return str(
            Printer({"mul_symbol": r" \, "}).doprint(_with_decimals(self._filled(places, rounded)))
        )

    def python(self, target: str) -> str:
        """Source of a function of arrays, which needs numpy alone."""
        from sympy.printing.numpy import NumPyPrinter

        class Printer(NumPyPrinter):
            def _print_Float(self, number: Any) -> str:
                return repr(float(number))

            def _print_erf(self, call: Any) -> str:
                return f"numpy.vectorize(math.erf)({self._print(call.args[0])})"

        names = identifiers(self.names)
        body = Printer({"fully_qualified_modules": True}).doprint(self._exactly(names))
        return "\n".join(
            [
                *["import math\n"] * ("math.erf" in body),
                "import numpy\n\n",
                f"def formula({', '.join(names)}):",
                f"    # {_quoted(target)}; NaN outside the domain of a function.",
                *(f"    # {own}: {_quoted(name)}" for own, name in self._renamed(names)),
                *(f"    {name} = numpy.asarray({name}, dtype=float)" for name in names),
                f"    return {body}\n",
            ]
        )

    def c(self, target: str) -> str:
        """Source of a C99 function of doubles."""
        import sympy
        from sympy.printing.c import C99CodePrinter

        class Printer(C99CodePrinter):
            def _print_Float(self, number: Any) -> str:
                return repr(float(number))

            def _print_Pow(self, power: Any) -> str:
                if power.exp == sympy.Rational(1, 3):  # cbrt takes negative numbers, too
                    return f"pow({self._print(power.base)}, 1.0/3.0)"
                return str(super()._print_Pow(power))

        names = identifiers(self.names)
        formula = self._exactly(names)
        # Standard C has no M_PI.
        units = {unit: sympy.Float(float(unit)) for unit in (sympy.pi, sympy.E)}
        used = {symbol.name for symbol in formula.free_symbols}
        body = Printer({"math_macros": {}}).doprint(formula.xreplace(units))
        return "\n".join(
            [
                "#include <math.h>\n",
                f"// {_quoted(target)}; NaN outside the domain of a function.",
                *(f"// {own}: {_quoted(name)}" for own, name in self._renamed(names)),
                f"double formula({', '.join(f'double {name}' for name in names)})",
                "{",
                *(f"    (void){name};" for name in names if name not in used),
                f"    return {body};",
                "}\n",
            ]
        )

    def _exactly(self, names: Sequence[str]) -> Expr:
        # As reals, or printers would leave room for complex numbers.
        return self._filled(names, lambda value, _: value, real=True)

    def _renamed(self, names: Sequence[str]) -> list[tuple[str, str]]:
        pairs = zip(names, self.names, strict=True)
        return [(own, name) for own, name in pairs if own != name]


def _with_decimals(expression: Expr) -> Expr:
    """The formula with fractions such as 981/100 as decimals."""
    import sympy

    return expression.xreplace(
        {
            number: sympy.Float(float(number))
            for number in expression.atoms(sympy.Rational)
            if min(number.q, abs(number.p)) > SHORT and 10**MAX_DIGITS % number.q == 0
        }
    )


def simplified(expression: Expr) -> Expr:
    """The shortest of a few equal forms, found by steps that end soon."""
    import sympy

    def size(formula: Expr) -> tuple[int, int]:
        return int(sympy.count_ops(formula)), len(str(formula))

    best = expression
    for _ in range(2):
        before = best
        if size(best)[0] > MAX_OPERATIONS:
            break
        steps: list[Callable[[Any], Any]] = [sympy.powsimp, sympy.factor_terms, sympy.together]
        steps.append(sympy.logcombine)
        if size(best)[0] <= MAX_FACTORED and _powers(best) <= MAX_EXPANDED_POWER:
            steps += [sympy.expand, sympy.factor]
        for step in steps:
            form = step(before)
            if size(form) < size(best):
                best = form
        if best == before:
            break
    return best


def _powers(expression: Expr) -> float:
    """The largest exponent of a sum, which an expansion would multiply out."""
    import sympy

    powers = expression.atoms(sympy.Pow)
    sums = [one.exp for one in powers if one.base.is_Add and one.exp.is_number]
    return max((abs(float(exponent)) for exponent in sums), default=0.0)


def identifiers(names: Iterable[str]) -> list[str]:
    """A different identifier of Python and C for each name: `Temp_C` for `Temp (°C)`."""
    found: list[str] = []
    for name in names:
        ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
        word = re.sub(r"[^0-9A-Za-z]+", "_", ascii_only).strip("_")
        if not word or word[0].isdigit():
            word = f"x_{word}".rstrip("_")
        word = f"{word}_" if word in RESERVED else word
        number, taken = 2, word
        while taken in found:
            taken, number = f"{word.rstrip('_')}_{number}", number + 1
        found.append(taken)
    return found


def _is_clear(name: str) -> bool:
    """Whether a name cannot be mistaken for anything else in a formula."""
    return name.isidentifier() and name not in ({*CALLS, "sqrt", "pi", "E", "I", "Abs"})


def latex_name(name: str) -> str:
    """A name in LaTeX's mathematics: a letter with a number is a variable, others are upright."""
    text = printable(name)
    if match := re.fullmatch(r"([A-Za-z]+?)_?(\d*)", text):
        letter, number = match.groups()
        if len(letter) == 1 or letter in GREEK.split():
            letter = letter if len(letter) == 1 else rf"\{letter}"
            return f"{letter}_{{{number}}}" if number else letter
    marks = {"\\": r"\backslash ", "~": r"\sim ", "^": r"\wedge "}
    # mathtext has these in text alone.
    marks |= {"#": r"\text{\#}", "&": r"\text{\&}", '"': r'\text{"}', "`": r"\text{`}"}
    return rf"\mathrm{{{''.join(marks.get(c) or _escaped(c) for c in text)}}}"


def _escaped(character: str) -> str:
    return rf"\{character}" if character in "$%_{} " else character


def _quoted(name: str) -> str:
    """A name in a comment of one line, in ASCII."""
    return json.dumps(name)
