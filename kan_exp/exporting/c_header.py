"""A network as one C header: constants and functions without allocation, C99 and C++."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np

from kan_exp.data.columns import FloatArray, free_name
from kan_exp.data.ranges import marks
from kan_exp.data.schema import PARTS, Column
from kan_exp.errors import KanExpError
from kan_exp.exporting.describing import inputs_text, prediction_names
from kan_exp.exporting.source import Made, Source
from kan_exp.exporting.tables import (
    OUTSIDE,
    SplineTable,
    Tables,
    basis_polynomials,
)

MAX_NUMBERS = 2_000_000  # of all tables, some 25 MB of text
PER_LINE = 8
# Words of C and C++, and macros, in lower case.
RESERVED = (
    "alignas alignof and asm auto bool break case catch char class const constexpr continue "
    "decltype default delete do double else enum eof errno explicit export extern false float for "
    "friend goto if infinity inline int linux long mutable namespace nan new noexcept not null "
    "nullptr operator or private protected public register restrict return short signed sizeof "
    "static struct switch template this throw true try typedef typeid typename union unix unsigned "
    "using virtual void volatile while xor"
)
TYPES = {"category": "const char *", "date": "int64_t "}
DATES = """
/* What networks see of microseconds since 1970; after H. Hinnant's civil_from_days. */
static inline void NAME_date(int64_t at, double *parts) {
    static const int starts[12] = {60, 91, 121, 152, 182, 213, 244, 274, 305, 335, 0, 31};
    const int64_t day_length = 86400000000LL, all = at + 719468LL * day_length;
    const int64_t days = all / day_length, second = all % day_length / 1000000;
    const int64_t era = days / 146097, day = days % 146097;
    const int64_t year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    const int64_t past = day - (365 * year + year / 4 - year / 100), month = (5 * past + 2) / 153;
    const int64_t ordinal = starts[month] + past - (153 * month + 2) / 5;
    const double turn = 6.283185307179586;
    parts[0] = (double)(year + 400 * era + (month >= 10));
    parts[1] = sin(turn * (double)ordinal / 366), parts[2] = cos(turn * (double)ordinal / 366);
    parts[3] = sin(turn * (double)((days + 2) % 7) / 7);
    parts[4] = cos(turn * (double)((days + 2) % 7) / 7);
    parts[5] = sin(turn * (double)second / 86400), parts[6] = cos(turn * (double)second / 86400);
}
"""


def make(source: Source) -> Made:
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
    return Made(_text(tables, name, lines).encode(), [*lines, f"in C: {used}"])


def identifier(text: str, taken: Iterable[str] = ()) -> str:
    """A name in C: letters, digits and underscores; numbered if it is taken."""
    word = re.sub(r"[^A-Za-z0-9_]", "_", text)
    if not word or not word[0].isalpha() or word.lower() in RESERVED.split():
        word = f"c_{word}"
    return free_name(word, taken)


def _text(tables: Tables, name: str, lines: Sequence[str]) -> str:
    fields: list[str] = []
    for column in tables.columns:
        fields.append(identifier(column.name, fields))
    about = [
        "A network, written by kan_exp.",
        *lines,
        f"Its errors add up to at most {tables.bound.max():.2g} of a standardized output.",
        OUTSIDE,
    ]
    names = prediction_names(tables)
    parts = [
        *(f"/* {_comment(line)} */" for line in about),
        f"#ifndef {name}_H\n#define {name}_H\n#include <math.h>\n#include <stdint.h>\n"
        "#include <string.h>\n",
        f"enum {{ {name}_FEATURES = {len(tables.features)}, {name}_OUTPUTS = {len(names)} }};",
        _texts(f"{name}_outputs", names),
        *([_texts(f"{name}_classes", tables.classes)] if tables.classes else []),
        "\ntypedef struct {",
        *(
            f"    {TYPES.get(column.kind, 'double ')}{field}; /* {_comment(column.name)} */"
            for column, field in zip(tables.columns, fields, strict=True)
        ),
        f"}} {name}_row;",
    ]
    if any(column.kind == "date" for column in tables.columns):
        parts.append(DATES.replace("NAME", name))
    parts.append(_encoding(tables, name, fields))
    for number, layer in enumerate(tables.layers):
        parts.append(_layer(layer, name, number))
    parts.append(_decoding(tables, name))
    parts.append("#endif\n")
    return "\n".join(parts)


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


def _array(kind: str, name: str, values: FloatArray) -> str:
    write = _float if kind == "float" else _double
    texts = [write(value) for value in values.ravel().tolist()]
    lines = [", ".join(texts[k : k + PER_LINE]) for k in range(0, len(texts), PER_LINE)]
    return f"static const {kind} {name}[{len(texts)}] = {{\n    " + ",\n    ".join(lines) + "};"


def _encoding(tables: Tables, name: str, fields: Sequence[str]) -> str:
    """The function from a row to features, and the one that marks rows."""
    lines = []
    place = 0
    for number, (column, rows) in enumerate(zip(tables.columns, tables.encodings, strict=True)):
        lines += _column(name, number, column, rows, fields[number], place)
        place += len(column.features)
    low, high = marks(tables.ranges)
    body = "\n".join(f"    {line}" for line in lines)
    arrays = [
        _array("double", f"{name}_{end}", values) for end, values in (("low", low), ("high", high))
    ]
    return f"""
/* The network's inputs, from a row. */
static inline void {name}_encode(const {name}_row *row, double *x) {{
{body}
}}

{arrays[0]}
{arrays[1]}

/* Whether a row lies far outside of what the network was trained on. */
static inline int {name}_outside(const {name}_row *row) {{
    double x[{name}_FEATURES];
    {name}_encode(row, x);
    for (int i = 0; i < {name}_FEATURES; ++i)
        if (x[i] < {name}_low[i] || x[i] > {name}_high[i]) return 1;
    return 0;
}}
"""


def _column(
    name: str, number: int, column: Column, rows: FloatArray | None, field: str, place: int
) -> list[str]:
    """Statements that set the features of a column, the first of which is `x[place]`."""
    value = f"row->{field}"
    if rows is not None:
        levels = f"levels{number}"
        count, width = len(column.levels), rows.shape[1]
        table = _array("double", f"rows{number}", rows).replace("\n", "\n    ")
        return [
            _texts(levels, column.levels),
            table,
            f"int code{number} = {value} && *{value} ? 0 : {count + 1};",
            f"while (code{number} < {count} && strcmp({value}, {levels}[code{number}]))",
            f"    ++code{number};",
            f"for (int k = 0; k < {width}; ++k) x[{place} + k] = rows{number}"
            f"[code{number} * {width} + k];",
        ]
    fill = "NAN" if column.fill is None else _double(column.fill)
    if column.kind == "date":
        order = ["year", *(part for parts in [*PARTS.values()][1:] for part in parts)]
        at = f"at{number}"
        whole = int(column.fill or 0)
        lines = [
            f"const int no{at} = {value} == INT64_MIN;",
            f"double parts{number}[7];",
            f"{name}_date(no{at} ? {whole}LL : {value}, parts{number});",
        ]
        for part in column.parts:
            found = f"parts{number}[{order.index(part)}]"
            found = f"no{at} ? NAN : {found}" if column.fill is None else found
            lines.append(f"x[{place}] = {found};")
            place += 1
        return [*lines, *([f"x[{place}] = no{at};"] if column.gaps else [])]
    found = value if column.fill is None else f"isnan({value}) ? {fill} : {value}"
    found = f"{column.scale}({found})" if column.scale else found
    gap = [f"x[{place + 1}] = isnan({value}) ? 1 : 0;"] if column.gaps else []
    return [f"x[{place}] = {found};", *gap]


def _layer(layer: SplineTable, name: str, number: int) -> str:
    inputs, rows, width = layer.coefficients.shape
    basis = basis_polynomials(layer.degree)
    slopes = np.zeros_like(basis)
    slopes[:-1] = basis[1:] * np.arange(1, len(basis))[:, None]
    own = f"{name}_{{}}{number}"
    size = len(basis)
    weights = "\n".join(
        f"        w[{k}][i] = {_horner(basis[:, k])} + beyond * ({_horner(slopes[:, k])});"
        for k in range(size)
    )
    terms = " + ".join(f"w[{k}][i] * c[{k * width} + j]" for k in range(size))
    bends = far = ends = ""
    if layer.bends is not None:
        terms += " + far[i] * s[j]"
        bends, far = f"far[{inputs}], ", "        far[i] = beyond;\n"
        place = f"{own.format('bends')} + (2 * i + (far[i] > 0)) * {width}"
        ends = f"\n        const float *s = {place};"
    start, step = "0", f"sum[j] += {terms};"
    arrays = [
        _array("float", own.format("first"), layer.first),
        _array("float", own.format("spacing"), layer.spacing),
        _array("float", own.format("table"), layer.coefficients),
    ]
    if layer.bends is not None:
        arrays.append(_array("float", own.format("bends"), layer.bends))
    if layer.products.any():
        flags = ", ".join(str(int(one)) for one in layer.products)
        arrays.append(f"static const char {own.format('products')}[{width}] = {{{flags}}};")
        product = f"{own.format('products')}[j]"
        start = product
        step = f"{{ const float e = {terms}; sum[j] = {product} ? sum[j] * e : sum[j] + e; }}"
    newline = "\n"
    first, spacing, last = own.format("first"), own.format("spacing"), layer.cells - 1
    return f"""{newline.join(arrays)}

static inline void {own.format("layer")}(const float *x, float *y) {{
    float w[{size}][{inputs}], {bends}sum[{width}];
    int at[{inputs}];
    for (int i = 0; i < {inputs}; ++i) {{ /* the cell of each input, and what it weighs there */
        const float place = (x[i] - {first}[i]) / {spacing}[i];
        const float cut = !(place > 0) ? 0 : place < {last} ? place : {last};
        const int cell = (int)cut;
        const float t = place - (float)cell, in = !(t > 0) ? 0 : t < 1 ? t : 1, beyond = t - in;
        at[i] = i * {rows} + cell;
{far}{weights}
    }}
    for (int j = 0; j < {width}; ++j) sum[j] = {start};
    for (int i = 0; i < {inputs}; ++i) {{
        const float *c = {own.format("table")} + at[i] * {width};{ends}
        for (int j = 0; j < {width}; ++j) {step}
    }}
    for (int j = 0; j < {width}; ++j) y[j] = sum[j];
}}
"""


def _horner(polynomial: FloatArray) -> str:
    """A polynomial of `in`."""
    text = _float(polynomial[-1])
    for coefficient in polynomial[-2::-1]:
        text = f"({text} * in + {_float(coefficient)})".replace("+ -", "- ")
    return text


def _decoding(tables: Tables, name: str) -> str:
    """The function from a row to predictions."""
    widths = [len(layer.products) for layer in tables.layers]
    widest = max(2, len(tables.features), *widths)
    lines = [
        "double x[{0}_FEATURES];",
        f"float a[{widest}], b[{widest}];",
        "{0}_encode(row, x);",
        "for (int i = 0; i < {0}_FEATURES; ++i)",
        "    a[i] = (float)((x[i] - {0}_x_mean[i]) / {0}_x_std[i]);",
    ]
    here, there = "a", "b"
    for number in range(len(widths)):
        lines.append(f"{{0}}_layer{number}({here}, {there});")
        here, there = there, here
    count, kind = widths[-1], tables.activation
    if kind == "classes" and count == 1:
        count, kind = 2, "sigmoid"
        lines.append(f"{here}[1] = {here}[0], {here}[0] = -{here}[0];")
    forms = {"sigmoid": "1 / (1 + exp(-(double){0}))", "exp": "exp((double){0})"}
    if kind in ("classes", "softmax"):
        lines += [
            f"double most = {here}[0], total = 0;",
            f"for (int j = 1; j < {count}; ++j) most = {here}[j] > most ? {here}[j] : most;",
            f"for (int j = 0; j < {count}; ++j) total += y[j] = exp({here}[j] - most);",
            f"for (int j = 0; j < {count}; ++j) y[j] /= total;",
        ]
    else:
        form = forms.get(kind, "{0}").format(f"{here}[j]")
        lines.append(f"for (int j = 0; j < {count}; ++j) y[j] = {form};")
    shape = (count,)
    std, mean = (np.broadcast_to(one, shape) for one in (tables.y_std, tables.y_mean))
    inverse = {"": "{}", "log": "exp({})", "log1p": "expm1({})"}
    if not tables.classes:
        for place, (scale, add) in enumerate(zip(tables.scales, tables.smearing, strict=True)):
            value = f"y[{place}] * {_double(std[place])} + {_double(mean[place] + add)}"
            lines.append(f"y[{place}] = {inverse[scale].format(value)};")
    body = "\n".join(f"    {line}".replace("{0}", name) for line in lines)
    return f"""{_array("double", f"{name}_x_mean", tables.x_mean)}
{_array("double", f"{name}_x_std", tables.x_std)}

/* Predictions of a row, {name}_OUTPUTS numbers, see {name}_outputs. */
static inline void {name}_predict(const {name}_row *row, double *y) {{
{body}
}}
"""
