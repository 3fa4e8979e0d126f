"""A network as one C header: constants and functions without allocation, C99 and C++."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment
from numpy.typing import NDArray

from kan_exp.data.columns import FloatArray, free_name
from kan_exp.data.ranges import marks
from kan_exp.errors import KanExpError
from kan_exp.exporting.describing import DATE_PARTS, inputs_text, prediction_names
from kan_exp.exporting.source import ExportedFile, Source
from kan_exp.exporting.tables import OUTSIDE, Tables, basis_polynomials, category_rows

MAX_NUMBERS = 2_000_000  # of all tables, some 25 MB of text
PER_LINE = 8
TEMPLATE = Path(__file__).with_suffix(".h")
# Words of C and C++, and macros, in lower case.
RESERVED = (
    "alignas alignof and asm auto bool break case catch char class const constexpr continue "
    "decltype default delete do double else enum eof errno explicit export extern false float for "
    "friend goto if infinity inline int linux long mutable namespace nan new noexcept not null "
    "nullptr operator or private protected public register restrict return short signed sizeof "
    "static struct switch template this throw true try typedef typeid typename union unix unsigned "
    "using virtual void volatile while xor"
)
# Predictions of the network's outputs, by the activation.
FORMS = {
    "identity": "{}",
    "sigmoid": "1 / (1 + exp(-(double){}))",
    "exp": "exp((double){})",
}
INVERSE = {"": "{}", "log": "exp({})", "log1p": "expm1({})"}  # of a target's scale


def make(source: Source) -> ExportedFile:
    """The header.

    Raises:
        KanExpError: The tables are too large for a header.
    """
    tables = source.tables
    numbers = sum(layer.coefficients.size for layer in tables.layers)
    if numbers > MAX_NUMBERS:
        raise KanExpError(
            f"format=c: the network has tables of {numbers:,} numbers, more than {MAX_NUMBERS:,}, "
            f"which no compiler reads in reasonable time: use format=onnx or format=npz."
        )
    name = identifier(source.name)
    lines = inputs_text(tables)
    used = f"{name}_row row = {{...}}; double y[{name}_OUTPUTS]; {name}_predict(&row, y);"
    return ExportedFile(_text(tables, name, lines).encode(), [*lines, f"in C: {used}"])


def identifier(text: str, taken: Iterable[str] = ()) -> str:
    """A name in C: letters, digits and underscores; numbered if it is taken."""
    word = re.sub(r"[^A-Za-z0-9_]", "_", text)
    if not word or not word[0].isalpha() or word.lower() in RESERVED.split():
        word = f"c_{word}"
    return free_name(word, taken)


def _text(tables: Tables, name: str, lines: Sequence[str]) -> str:
    fields: list[str] = []
    for column in tables.schema.inputs:
        fields.append(identifier(column.name, fields))
    about = [
        "A network, written by kan_exp.",
        *lines,
        f"Its errors add up to at most {tables.bound.max():.2g} of a standardized output.",
        OUTSIDE,
    ]
    widths = [len(layer.products) for layer in tables.layers]
    environment = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters["comment"] = _comment
    low, high = marks(tables.ranges)
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        about=about,
        name=name,
        tables=tables,
        outputs=prediction_names(tables),
        columns=[*zip(tables.schema.inputs, fields, strict=True)],
        parts=DATE_PARTS if any(column.kind == "date" for column in tables.schema.inputs) else None,
        low=low,
        high=high,
        widest=max(len(tables.schema.features), *widths),
        count=widths[-1],
        forms=FORMS,
        decoded=[] if tables.schema.classes else _decoded(tables, widths[-1]),
        texts=_texts,
        array=_array,
        double=_double,
        weights=_weights,
        category_rows=category_rows,
    )


def _decoded(tables: Tables, count: int) -> list[str]:
    """Predictions in the units of the target, with a place for those that are standardized."""
    std, mean = (np.broadcast_to(one, count) for one in (tables.y_std, tables.y_mean))
    return [
        INVERSE[scale].format(f"{{}} * {_double(factor)} + {_double(shift)}")
        for scale, factor, shift in zip(tables.scales, std, mean + tables.smearing, strict=True)
    ]


def _comment(text: str) -> str:
    return text.replace("*/", "* /").replace("\\", "/")


def _literal(text: str) -> str:
    """A text in quotes, its bytes in UTF-8."""
    plain = re.compile(rb"[A-Za-z0-9 _.,:;()=+<>-]")
    codes = (bytes([one]) for one in text.encode("utf-8", "surrogateescape"))
    return '"' + "".join(c.decode() if plain.match(c) else f"\\{c[0]:03o}" for c in codes) + '"'


def _texts(name: str, texts: Sequence[str]) -> str:
    words = ", ".join(map(_literal, texts))
    return f"static const char *const {name}[{len(texts)}] = {{{words}}};"


def _double(value: float) -> str:
    if np.isnan(value):
        return "NAN"
    return f"{'-' if value < 0 else ''}INFINITY" if np.isinf(value) else repr(float(value))


def _float(value: float) -> str:
    text = f"{np.float32(value):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.f"


def _array(kind: str, name: str, values: NDArray[Any]) -> str:
    write: Any = {"float": _float, "double": _double, "char": int}[kind]
    texts = [str(write(value)) for value in values.ravel().tolist()]
    lines = [", ".join(texts[k : k + PER_LINE]) for k in range(0, len(texts), PER_LINE)]
    return f"static const {kind} {name}[{len(texts)}] = {{\n    " + ",\n    ".join(lines) + "};"


def _weights(degree: int) -> list[tuple[str, str]]:
    """Each basis function of a cell, and its slope, as polynomials of `in`."""
    basis = basis_polynomials(degree)
    slopes = np.polynomial.polynomial.polyder(basis)
    return [*zip(map(_horner, basis.T), map(_horner, slopes.T), strict=True)]


def _horner(polynomial: FloatArray) -> str:
    """A polynomial of `in`."""
    text = _float(polynomial[-1])
    for coefficient in polynomial[-2::-1]:
        text = f"({text} * in + {_float(coefficient)})".replace("+ -", "- ")
    return text
