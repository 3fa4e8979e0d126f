# ruff: noqa: T201 - a benchmark's output is its purpose.
"""What units of columns change in the search for formulas: how many are found with and without.

python benchmarks/units.py                               all equations, without noise and with 5 %
python benchmarks/units.py --only range --noise 0        one of them

Equations are physical ones with made-up numbers: points are uniform in the ranges of the inputs,
the target's noise is normal, in units of its deviation. Every fit is by `kan_exp.explain`, in one
process with one thread, first without units, then with those of all columns. Formulas are judged as
in formulas.py. Counted are those that are solved and claimed, and those that are claimed, but
wrong.
"""

from __future__ import annotations

import argparse
import itertools
import time
import zlib
from typing import NamedTuple

import numpy as np
import polars as pl
from formulas import FRESH, Target, judge, sampled, target_of
from threadpoolctl import threadpool_limits

import kan_exp

TARGET = "y"
RANGE = "1:5"


class Equation(NamedTuple):
    """A formula with the units of its inputs and of its value, and other ranges than `RANGE`."""

    formula: str
    units: dict[str, str]
    unit: str
    ranges: dict[str, str] | None = None

    def target(self, name: str) -> Target:
        ranges = self.ranges or {}
        inputs = " ".join(f"{one}:{ranges.get(one, RANGE)}" for one in self.units)
        return target_of(name, self.formula, inputs)


EQUATIONS = {
    "braking distance": Equation("v*t + v**2/(2*a)", {"v": "m/s", "t": "s", "a": "m/s**2"}, "m"),
    "rolling energy": Equation(
        "m*v**2/2 + J*w**2/2", {"m": "kg", "v": "m/s", "J": "kg*m**2", "w": "1/s"}, "J"
    ),
    "sinking speed": Equation(
        "2*(p - q)*g*R**2/(9*u)",
        {"p": "kg/m**3", "q": "kg/m**3", "g": "m/s**2", "R": "m", "u": "Pa*s"},
        "m/s",
        {"p": "6:9"},
    ),
    "jet speed": Equation(
        "sqrt(2*g*h + 2*p/d)", {"g": "m/s**2", "h": "m", "p": "Pa", "d": "kg/m**3"}, "m/s"
    ),
    "physical pendulum": Equation(
        "2*pi*sqrt(J/(m*g*d))", {"J": "kg*m**2", "m": "kg", "g": "m/s**2", "d": "m"}, "s"
    ),
    "capillary rise": Equation(
        "2*s*cos(a)/(d*g*r)",
        {"s": "N/m", "a": "rad", "d": "kg/m**3", "g": "m/s**2", "r": "m"},
        "m",
        {"a": "0:1.4"},
    ),
    "cell voltage": Equation(
        "k*T*log(a/b)/q",
        {"k": "J/K", "T": "K", "a": "mol/m**3", "b": "mol/m**3", "q": "C"},
        "V",
    ),
    "damped swing": Equation(
        "A*exp(-b*t/(2*m))*cos(w*t)",
        {"A": "m", "b": "kg/s", "t": "s", "m": "kg", "w": "1/s"},
        "m",
        {"t": "0:2", "w": "1:3"},
    ),
    "pressure": Equation(
        "p + d*v**2/2 + d*g*h",
        {"p": "Pa", "d": "kg/m**3", "v": "m/s", "g": "m/s**2", "h": "m"},
        "Pa",
    ),
    "impedance": Equation(
        "sqrt(R**2 + (w*L - 1/(w*C))**2)", {"R": "ohm", "w": "1/s", "L": "H", "C": "F"}, "ohm"
    ),
    "rate": Equation("A*exp(-e/(k*T))", {"A": "1/s", "e": "J", "k": "J/K", "T": "K"}, "1/s"),
    "bending": Equation("F*L**3/(3*Y*I)", {"F": "N", "L": "m", "Y": "Pa", "I": "m**4"}, "m"),
    "orbital speed": Equation(
        "sqrt(G*M*(2/r - 1/a))",
        {"G": "m**3/kg/s**2", "M": "kg", "r": "m", "a": "m"},
        "m/s",
        {"r": "1:4", "a": "3:6"},
    ),
    "mixing": Equation("(c*S + d*T)/(c + d)", {"c": "J/K", "S": "K", "d": "J/K", "T": "K"}, "K"),
    "rocket": Equation("v*log(m/(m - f))", {"v": "m/s", "m": "kg", "f": "kg"}, "m/s", {"m": "6:9"}),
    "range": Equation(
        "v**2*sin(2*a)/g", {"v": "m/s", "a": "rad", "g": "m/s**2"}, "m", {"a": "0.1:1.4"}
    ),
    "cooling": Equation(
        "S + (T - S)*exp(-h*A*t/C)",
        {"S": "K", "T": "K", "h": "W/m**2/K", "A": "m**2", "t": "s", "C": "J/K"},
        "K",
        {"t": "0:2", "C": "3:8"},
    ),
    "lift": Equation(
        "d*v**2*A*c/2 - m*g",
        {"d": "kg/m**3", "v": "m/s", "A": "m**2", "c": "1", "m": "kg", "g": "m/s**2"},
        "N",
    ),
}


class Outcome(NamedTuple):
    solved: bool
    claimed: bool
    seconds: float
    formula: str


def run(name: str, noise: float, with_units: bool, rows: int, seconds: float, seed: int) -> Outcome:
    """Fits one equation, and judges the formula on fresh points."""
    equation = EQUATIONS[name]
    target = equation.target(name)
    assert target.truth is not None
    x, y = sampled(target, rows, seed, 0)
    generator = np.random.default_rng([seed, zlib.crc32(name.encode()), 1])
    y = y + noise * y.std() * generator.normal(size=len(y))
    table = pl.DataFrame(x, schema=[*equation.units])
    units = {**equation.units, TARGET: equation.unit} if with_units else None
    began = time.perf_counter()
    found = kan_exp.explain(table, y, seconds=seconds, seed=seed, units=units, workers=1)
    took = time.perf_counter() - began
    fresh, _ = sampled(target, FRESH, seed, 2)
    verdict = judge(found.chosen.expression, target.truth, fresh, noise > 0)
    return Outcome(verdict == "solved", found.found, took, found.formula)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.05], metavar="PART")
    parser.add_argument("--rows", type=int, default=300, help="of each equation")
    parser.add_argument("--seconds", type=float, default=12.0, help="of each fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=EQUATIONS, default=EQUATIONS)
    options = parser.parse_args()
    lines = [
        "| noise | units | solved and claimed | claimed, but wrong |",
        "| --- | --- | --- | --- |",
    ]
    for noise, with_units in itertools.product(options.noise, (False, True)):
        said = "with" if with_units else "without"
        outcomes = []
        for name in options.only:
            with threadpool_limits(1):
                one = run(name, noise, with_units, options.rows, options.seconds, options.seed)
            outcomes.append(one)
            verdict = f"{'solved' if one.solved else 'wrong'}, {'claimed' if one.claimed else '-'}"
            print(
                f"{noise:g} {said:7} {name:17} {verdict:15} {one.seconds:5.1f} s  {one.formula}",
                flush=True,
            )
        solved = sum(one.solved and one.claimed for one in outcomes)
        wrong = sum(one.claimed and not one.solved for one in outcomes)
        lines.append(f"| {noise:g} | {said} | {solved} of {len(outcomes)} | {wrong} |")
    print("", *lines, sep="\n")


if __name__ == "__main__":
    main()
