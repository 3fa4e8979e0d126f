"""A formula for data, with everything that says how far it can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kan_exp.errors import KanExpError, listing
from kan_exp.quoting import expand_home
from kan_exp.runs.folders import FORMULA
from kan_exp.runs.printable import aligned, printable, shortened
from kan_exp.symbolic.differences import Difference, finite_or_none
from kan_exp.symbolic.edges import EdgeName
from kan_exp.symbolic.expression import Array, Input
from kan_exp.symbolic.judge import Candidate
from kan_exp.symbolic.notation import Notation, latex_name, with_error

if TYPE_CHECKING:
    import polars as pl
    import sympy

    from kan_exp import FittedModel

SAME = 1e-9  # relative difference below which two formulas are equal
PROBES = 200  # points at which formulas are compared


@dataclass(frozen=True, eq=False)
class Explanation:
    """A formula, and how well it holds.

    `explanation(X)` evaluates it: `X` is an array or tensor `(n, in)`, or a table with the inputs
    by name; gives an array `(n,)`, of a tensor a tensor. Outside the domain of a function it is
    NaN.

    Attributes:
        target: Name of what the formula describes.
        names: Of the inputs, any text.
        ranges: Least and greatest value of each input in the data `(in, 2)`.
        candidates: Formulas of rising complexity, each better than those before.
        chosen: The formula to show.
        test_rmse: Of each candidate on rows that the search has not seen; NaN without such rows.
        found: Whether the formula is claimed: it holds to the noise, and it is the only one that
            is so short. If not, it is the best of those tried.
        fits: Whether the formula holds to the noise, be it one of many.
        noise: Estimated deviation of the noise in units of the target.
        seconds: What the search took.
        complete: False if time ran out, or the user stopped the search.
        fresh: Whether the differences are on rows that the search has not seen.
        differences: Between formula, network and data.
        notes: Lines about the limits of all this.
        edge_names: If no formula was found: what is known of each edge of the network.
        units: Of inputs and target by name, as the user wrote them.
        constant_units: Of the chosen formula's free constants; empty for numbers without a unit.
            None are known without `units`.
    """

    target: str
    names: tuple[str, ...]
    ranges: Array
    candidates: tuple[Candidate, ...]
    chosen: Candidate
    test_rmse: tuple[float, ...]
    found: bool
    fits: bool
    noise: float
    seconds: float
    complete: bool
    fresh: bool = False
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()
    edge_names: tuple[EdgeName, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    constant_units: tuple[str, ...] = ()

    def notation(self, candidate: Candidate | None = None) -> Notation:
        """The writer of the chosen formula, or of another candidate."""
        one = candidate or self.chosen
        positive = [bool(low > 0) for low, _ in self.ranges]
        return Notation(one.expression, self.names, one.errors, positive)

    @cached_property
    def _notation(self) -> Notation:
        return self.notation()

    @cached_property
    def formula(self) -> str:
        """The formula as text, its free constants rounded to their standard errors."""
        return self._notation.text()

    def sympy(self) -> sympy.Expr:
        """The formula in symbols that have the names of the inputs, its constants in full."""
        return self._notation.sympy()

    def latex(self) -> str:
        """The formula with its left-hand side."""
        return f"{latex_name(self.target)} = {self._notation.latex()}"

    def python(self) -> str:
        """Source of a Python function of arrays, which needs numpy alone."""
        return self._notation.python(self.target)

    def c(self) -> str:
        """Source of a C99 function of doubles."""
        return self._notation.c(self.target)

    def torch(self, only_used: bool = False) -> FittedModel:
        """The formula as a network `(n, in) -> (n, 1)`, see `kan_exp.formula_network`.

        Args:
            only_used: Whether inputs that the formula does not have are left out; a constant has
                the first one.
        """
        from kan_exp import formula_network  # which stands above: models can be explained

        expression, count = self.chosen.expression, len(self.names)
        kept = (expression.inputs or (0,)) if only_used else range(count)
        inputs = [Input(kept.index(place) if place in kept else 0) for place in range(count)]
        ranges = {self.names[place]: self.ranges[place].tolist() for place in kept}
        return formula_network(expression.substituted(inputs), ranges, self.target)

    @cached_property
    def _network(self) -> FittedModel:
        return self.torch().requires_grad_(False)

    def __call__(self, x: Any) -> Any:
        import torch

        if isinstance(x, torch.Tensor):
            values = self._network.to(x.device)(x)[:, 0]
            return values.to(x.dtype) if x.is_floating_point() else values
        from kan_exp.data.schema import Schema
        from kan_exp.models.inputs import as_points

        points = as_points(x, Schema.of_numbers(self.names), torch.device("cpu"))
        return self.chosen.expression(points.double().numpy())

    def equals(self, other: Explanation | Any) -> bool:
        """Whether another formula of the same inputs is equal: to SymPy, or in its values.

        Args:
            other: An `Explanation`, or an expression of SymPy in the same symbols.
        """
        import sympy

        own, theirs = self.sympy(), other.sympy() if isinstance(other, Explanation) else other
        if not isinstance(theirs, sympy.Expr):  # text would be executed by SymPy
            kind = type(theirs).__name__
            raise KanExpError(f"equals takes an Explanation or an expression of SymPy, got {kind}.")
        symbols = [sympy.Symbol(name) for name in self.names]
        if not theirs.free_symbols <= {*symbols}:
            return False
        if own == theirs:
            return True
        low, high = self.ranges.T
        points = np.random.default_rng(0).uniform(low, high, (PROBES, len(low)))
        with np.errstate(all="ignore"):
            values = [
                np.broadcast_to(sympy.lambdify(symbols, one, "numpy")(*points.T), PROBES)
                for one in (own, theirs)
            ]
        known = [np.isfinite(one) for one in values]
        if not (known[0] == known[1]).all() or not known[0].any():
            return False
        left, right = (one[known[0]] for one in values)
        return bool(np.abs(left - right).max() <= SAME * np.abs(left).max())

    @cached_property
    def constants(self) -> pl.DataFrame:
        """The free constants in the order in which the formula was built."""
        import polars as pl

        values, errors = self.chosen.expression.constants, self.chosen.errors
        shown = [with_error(*pair) for pair in zip(values, errors, strict=True)]
        columns = {"constant": shown, "value": values, "standard_error": errors}
        schema = {"constant": pl.String(), "value": pl.Float64(), "standard_error": pl.Float64()}
        if self.units:
            columns["unit"] = self.constant_units or [None] * len(shown)
            schema["unit"] = pl.String()
        return pl.DataFrame(columns, schema)

    @cached_property
    def pareto(self) -> pl.DataFrame:
        """Formulas of rising complexity, with their errors in units of the target."""
        import polars as pl

        rows = [
            (
                one.complexity,
                one.rmse,
                one.validation_rmse,
                finite_or_none(test),
                self.formula if one is self.chosen else self.notation(one).text(),
                one.origin,
                one is self.chosen,
            )
            for one, test in zip(self.candidates, self.test_rmse, strict=True)
        ]
        names = ("complexity", "training_rmse", "validation_rmse", "test_rmse")
        kinds = [pl.Int64, *[pl.Float64] * 3, pl.String, pl.String, pl.Boolean]
        schema = dict(zip((*names, "formula", "origin", "chosen"), kinds, strict=True))
        return pl.DataFrame(rows, schema, orient="row")

    def labelled(self, name: str) -> str:
        """An input or the target with its unit, if that is known, such as `v [m/s]`."""
        return f"{name} [{self.units[name]}]" if name in self.units else name

    def summary(self) -> dict[str, Any]:
        """The formula in the entry `formulas` of a run's metrics.json.

        `rmse` is its distance from the data, or from the network where there are none; `fresh` says
        whether the search has not seen these rows.
        """
        known = (self.data_difference, self.network_difference)
        rmse = next((one for one in known if one is not None), None)
        return {
            "target": self.target,
            "formula": self.formula,
            "found": self.found,
            "rmse": None if rmse is None else finite_or_none(rmse),
            "fresh": self.fresh,
        }

    def _difference(self, between: str) -> float | None:
        return next((one.rmse for one in self.differences if one.between == between), None)

    @property
    def network_difference(self) -> float | None:
        """RMSE between formula and network; None without a network."""
        return self._difference("formula - network")

    @property
    def data_difference(self) -> float | None:
        """RMSE between formula and data; None without data."""
        return self._difference("formula - data")

    @cached_property
    def edges(self) -> pl.DataFrame:
        """If no formula was found: the network's edges, those without a name marked as tables."""
        import polars as pl

        kinds = (pl.String, pl.String, pl.Float64, pl.String)
        schema = dict(zip(EdgeName._fields, kinds, strict=True))
        return pl.DataFrame(list(self.edge_names), schema, orient="row")

    @property
    def verdict(self) -> str:
        """Whether the formula was found, in a sentence."""
        noise = f"noise of {self.noise:.3g}" if self.noise > 0 else "rounding"
        if self.found:
            return f"found: what it leaves is no more than {noise}"
        if self.fits:
            return f"not certain: it leaves no more than {noise}, but other formulas may, too"
        if self.complete:
            return "no formula found: this is the best of those tried, and an approximation"
        return "no formula found before the search ended: this is the best so far"

    def lines(self) -> list[str]:
        """What there is to know, line by line."""
        rows = [("formula", f"{printable(self.target)} = {self.formula}"), ("", self.verdict)]
        if free := self.constants["constant"].to_list():
            units = self.constant_units or [""] * len(free)
            texts = [_with_unit(*pair) for pair in zip(free, units, strict=True)]
            rows.append(("constants", ", ".join(texts)))
        if self.units:
            rows.append(("units", listing(printable(self.labelled(name)) for name in self.units)))
        where = "fresh rows" if self.fresh else "rows that the search saw"
        for one in self.differences:
            undefined = f", not finite at {one.undefined:,}" if one.undefined else ""
            text = f"RMSE {one.rmse:.3g}, largest {one.largest:.3g}"
            rows.append((one.between, f"{text} (on {one.points:,} {where}{undefined})"))
        rows.append(("seconds", f"{self.seconds:.1f}"))
        return [*aligned(rows), *(f"Note: {line}" for line in self.notes)]

    def table(self) -> list[str]:
        """The Pareto table as lines of text."""
        head = ("complexity", "training", "validation", "test", "formula")
        cells = [
            (str(row[0]), *("-" if v is None else f"{v:.3g}" for v in row[1:4]), row[4])
            for row in self.pareto.iter_rows()
        ]
        widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)][:-1]
        marks = ["  ", *("* " if chosen else "  " for chosen in self.pareto["chosen"])]
        return [
            mark + "  ".join([*map(str.rjust, row[:-1], widths), row[-1]])
            for mark, row in zip(marks, [head, *cells], strict=True)
        ]

    def edge_lines(self) -> list[str]:
        """What is known of the network's edges, line by line."""
        rows = []
        for one in self.edge_names:
            said = [one.remark] if one.remark else []
            if one.error is not None:
                said.append(f"error {one.error:.1e} of its deviation")
            rows.append((shortened(one.edge), f"{one.formula} ({', '.join(said)})"))
        return aligned(rows) if rows else []

    def __repr__(self) -> str:
        return "\n".join(["Explanation", *self.lines()])

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"

    def save(self, folder: str | Path) -> None:
        """Writes `formula.json`, `formula.txt` and `formula.tex`."""
        from kan_exp.symbolic.records import save

        save([self], expand_home(folder))

    @classmethod
    def load(cls, folder: str | Path, output: str | None = None) -> Explanation:
        """Reads a formula that was written to a folder, such as that of a run.

        Args:
            folder: It, or the file itself.
            output: Which, if there are formulas of several outputs.

        Raises:
            KanExpError: There is no such file, it is damaged, or has no such output.
        """
        path = expand_home(folder)
        path = path / FORMULA if path.is_dir() else path
        from kan_exp.symbolic.records import read

        found = {one.target: one for one in read(path)}
        if output is None and len(found) == 1:
            return next(iter(found.values()))
        if output not in found:
            raise KanExpError(f"{path} has the outputs {listing(found)}: choose one by output=...")
        return found[output]


def _with_unit(constant: str, unit: str) -> str:
    """A constant such as `9.81 ± 0.02 m/s**2`."""
    if not unit:
        return constant
    return f"({constant}) {unit}" if "±" in constant else f"{constant} {unit}"
