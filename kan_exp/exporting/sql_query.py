"""A small network as a query in SQL, for SQLite, DuckDB and PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np

from kan_exp.data.columns import FALSE, TRUE, FloatArray, free_name, shown
from kan_exp.data.ranges import MARKED, marks
from kan_exp.data.schema import Column
from kan_exp.errors import KanExpError, listing
from kan_exp.exporting.describing import prediction_names
from kan_exp.exporting.fresh import as_arrays
from kan_exp.exporting.source import ExportedFile, Source
from kan_exp.exporting.tables import OUTSIDE, SplineTable, Tables, category_rows

MAX_POLYNOMIALS = 20_000  # some two megabytes of text for each prediction
ROW = "kan_row"  # alias of the table


def make(source: Source) -> ExportedFile:
    """The query, which adds predictions to the columns of a table.

    Raises:
        KanExpError: A column is a date, names differ in case alone, a text has a null character,
            the network is too large, or the predictions differ.
    """
    tables = source.tables
    for column in tables.schema.inputs:
        if column.kind == "date":
            raise KanExpError(
                f"format=sql: column {shown(column.name)} is a date, which databases take apart in "
                f"ways of their own: use format=onnx, format=npz or format=c."
            )
    _check_names([column.name for column in tables.schema.inputs])
    count = sum(
        layer.cells * int(np.ptp(layer.coefficients, axis=1).astype(bool).sum())
        for layer in tables.layers
    )
    if count > MAX_POLYNOMIALS:
        raise KanExpError(
            f"format=sql: the network has {count:,} polynomials, more than {MAX_POLYNOMIALS:,}: "
            f"train a smaller one (a sum of curves has dims=[auto,auto]), or use format=onnx."
        )
    added = _added(tables)
    text = _query(tables, source.table, added)
    if "\0" in text:
        raise KanExpError(
            "format=sql: a level or a name has a null character, which no database takes: use "
            "format=onnx, format=npz or format=c."
        )
    lines = [_compared(source, added), f"adds to {source.table}: {listing(added)}"]
    return ExportedFile(text.encode(), lines)


def _check_names(names: Sequence[str]) -> None:
    """Refuses names of columns that SQLite and DuckDB take for the same."""
    known: dict[str, str] = {}
    for name in names:
        if (other := known.setdefault(name.lower(), name)) != name:
            raise KanExpError(
                f"format=sql: columns {shown(other)} and {shown(name)} differ in case alone, which "
                f"databases do not tell apart: rename one, or use format=onnx, format=npz or "
                f"format=c."
            )


def _compared(source: Source, added: Sequence[str]) -> str:
    """A line about the difference from the model, by SQLite."""
    tables = source.tables
    columns = as_arrays(tables, source.rows)
    table = source.table.rpartition(".")[2]
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    try:
        with closing(sqlite3.connect(":memory:")) as base:
            base.execute(f"CREATE TABLE {_table(table)} ({', '.join(map(_name, columns))})")
            base.executemany(
                f"INSERT INTO {_table(table)} VALUES ({', '.join('?' * len(columns))})",
                ([None if value != value else value for value in row] for row in rows),
            )
            found = base.execute(_query(tables, table, added)).fetchall()
    except sqlite3.Error as error:
        return f"not compared with the model: SQLite {sqlite3.sqlite_version} refuses: {error}."
    chances = slice(len(columns) + bool(tables.schema.classes), len(columns) + len(added) - 1)
    return source.compare(np.array([row[chances] for row in found], dtype=np.float64))


def _added(tables: Tables) -> list[str]:
    """Names of the columns that the query adds."""
    taken = [column.name.lower() for column in tables.schema.inputs]
    names = [f"{tables.schema.target_name}_predicted"] if tables.schema.classes else []
    added: list[str] = []
    for name in [*names, *prediction_names(tables), MARKED]:
        taken.append(free_name(name.lower(), taken))
        added.append(name + taken[-1].removeprefix(name.lower()))
    return added


def _query(tables: Tables, table: str, added: Sequence[str]) -> str:
    comment = [
        "A network that kan_exp wrote, for SQLite, DuckDB and PostgreSQL; NULL is a missing value.",
        f"Error bound: {tables.bound.max():.2g} of a standardized output.",
        OUTSIDE,
    ]
    pairs = zip([*_predictions(tables), _mark(tables)], added, strict=True)
    columns = "".join(f",\n({text}) AS {_name(name)}" for text, name in pairs)
    head = "".join(f"-- {line}\n" for line in comment)
    return f"{head}SELECT {ROW}.*{columns}\nFROM {_table(table)} AS {ROW}\n"


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _table(name: str) -> str:
    """A table's name in quotes, after its schema and a dot if it has one."""
    return ".".join(map(_name, name.split(".")))


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _number(value: float) -> str:
    """A number that no database takes for a decimal one."""
    text = repr(float(value))
    return text if "e" in text else f"{text}e0"


def _encoded(tables: Tables) -> str:
    """The innermost query: the features x0, x1, ... of a row."""
    features: list[str] = []
    for column in tables.schema.inputs:
        features += _features(column)
    return "SELECT " + ", ".join(f"{text} AS x{k}" for k, text in enumerate(features))


def _features(column: Column) -> Iterator[str]:
    own = f"{ROW}.{_name(column.name)}"
    value = f"CAST({own} AS TEXT)"
    is_gap = f"{own} IS NULL OR {value} = ''"  # tables of text have no NULL
    if (rows := category_rows(column)) is not None:
        *levels, other, gap = rows
        for place in range(rows.shape[1]):
            cases = " ".join(
                f"WHEN {_text(level)} THEN {_number(row[place])}"
                for level, row in zip(column.levels, levels, strict=True)
            )
            missing = "NULL" if np.isnan(gap[place]) else _number(gap[place])
            yield (
                f"CASE WHEN {is_gap} THEN {missing} ELSE CASE {value} {cases} "
                f"ELSE {_number(other[place])} END END"
            )
        return
    fill = "NULL" if column.fill is None else _number(column.fill)
    if column.kind == "boolean":  # SQLite takes every word for false
        true, false = (", ".join(map(_text, (*words, f"{words[-1]}.0"))) for words in (TRUE, FALSE))
        value = (
            f"WHEN LOWER({value}) IN ({true}) THEN 1e0 WHEN LOWER({value}) IN ({false}) THEN 0e0"
        )
    else:
        value = f"ELSE CAST({own} AS DOUBLE PRECISION)"
    value = f"CASE WHEN {is_gap} THEN {fill} {value} END"
    if column.scale:
        value = f"LN({value})" if column.scale == "log" else f"LN(1e0 + {value})"
    yield value
    if column.gaps:
        yield f"CASE WHEN {is_gap} THEN 1e0 ELSE 0e0 END"


def _select(columns: str, query: str) -> str:
    """A query of the one row of another.

    With an offset, databases compute a column once; else they would insert it wherever it is read.
    """
    return f"SELECT {columns} FROM ({query} LIMIT 1 OFFSET 0) AS a"


def _mark(tables: Tables) -> str:
    """The query that marks a row outside of the trained range."""
    low, high = marks(tables.ranges)
    parts = [
        f"x{place} {sign} {_number(end)}"
        for place, ends in enumerate(zip(low, high, strict=True))
        for sign, end in zip("<>", ends, strict=True)
        if np.isfinite(end)
    ]
    far = " OR ".join(parts) or "1 = 0"
    return _select(f"CASE WHEN {far} THEN 1 ELSE 0 END", _encoded(tables))


def _outputs(tables: Tables, wanted: Sequence[int]) -> str:
    """The query for outputs of the network, x0, x1, ... of which those that are wanted."""
    pairs = zip(tables.x_mean, tables.x_std, strict=True)
    scaled = ", ".join(
        f"(x{k} - {_number(mean)}) / {_number(std)} AS x{k}" for k, (mean, std) in enumerate(pairs)
    )
    query = _select(scaled, _encoded(tables))
    for layer in tables.layers:
        outputs = wanted if layer is tables.layers[-1] else range(len(layer.products))
        query = _layer(layer, query, outputs)
    return query


def _layer(layer: SplineTable, query: str, outputs: Sequence[int]) -> str:
    inputs, last = range(len(layer.first)), layer.cells + 1
    place = ", ".join(
        f"(x{i} - {_number(layer.first[i])}) / {_number(layer.spacing[i])} + 1e0 AS p{i}"
        for i in inputs
    )
    cell = ", ".join(
        f"p{i}, CASE WHEN p{i} > 0 THEN CASE WHEN p{i} < {last} THEN FLOOR(p{i}) ELSE {last} END "
        f"ELSE 0 END AS c{i}"
        for i in inputs
    )
    inside = ", ".join(f"c{i}, p{i} - c{i} AS t{i}" for i in inputs)
    query = _select(place, query)
    query = _select(cell, query)
    query = _select(inside, query)
    polynomials = layer.with_ends()  # (in, cells, powers, out)
    found = []
    for j in outputs:
        neutral = float(layer.products[j])
        edges = [
            _edge(polynomials[i, :, :, j], i)
            for i in inputs
            if (layer.coefficients[i, :, j] != neutral).any()
        ]
        sign = "\n* " if neutral else "\n+ "
        found.append(f"{sign.join(edges) or _number(neutral)} AS x{j}")
    return _select(", ".join(found), query)


def _edge(polynomials: FloatArray, i: int) -> str:
    """An edge from input i: a polynomial `(cells, powers)` in t in each cell c."""
    cases = " ".join(
        f"WHEN {cell} THEN {_horner(one, f't{i}')}" for cell, one in enumerate(polynomials)
    )
    # Without a value the result has none; an edge reads its input in any case.
    return f"CASE c{i} {cases} END"


def _horner(polynomial: FloatArray, variable: str) -> str:
    *lower, text = (_number(float(np.float32(one))) for one in polynomial)
    for coefficient in reversed(lower):
        text = f"({text} * {variable} + {coefficient})"
    return text


def _predictions(tables: Tables) -> Iterator[str]:
    """A query for each prediction; of a classifier the most probable class first."""
    count = len(tables.layers[-1].products)
    if tables.schema.classes:
        yield from _chances(tables, count)
        return
    std, mean = (np.broadcast_to(one, count) for one in (tables.y_std, tables.y_mean))
    forms = {"sigmoid": "1e0 / (1e0 + EXP(-({})))", "exp": "EXP({})"}
    inverse = {"": "{}", "log": "EXP({})", "log1p": "EXP({}) - 1e0"}
    for j in range(count):
        value = forms.get(tables.activation, "{}").format(f"x{j}")
        shift = mean[j] + tables.smearing[j]
        value = inverse[tables.scales[j]].format(f"{value} * {_number(std[j])} + {_number(shift)}")
        yield _select(value, _outputs(tables, [j]))


def _chances(tables: Tables, count: int) -> Iterator[str]:
    logits = [f"x{j}" for j in range(count)]
    query = _outputs(tables, range(count))
    cases = " ".join(
        f"WHEN {' AND '.join(f'{one} >= {other}' for other in logits if other != one)} "
        f"THEN {_text(name)}"
        for one, name in zip(logits, tables.schema.classes, strict=True)
    )
    yield _select(f"CASE {cases} END", query)
    for one in logits:
        total = " + ".join(f"EXP({other} - {one})" for other in logits)
        yield _select(f"1e0 / ({total})", query)
