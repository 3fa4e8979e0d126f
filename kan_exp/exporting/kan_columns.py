"""Makes a network's inputs of texts, dates and gaps, too; it needs NumPy alone."""

import numpy as np

SCALES = {"": lambda x: x, "log": np.log, "log1p": np.log1p}


def encode(about, rows):
    """Inputs `(n, in)` of a `Model` by its `about`: columns are values of a row, or arrays `(n,)`.

    Dates are datetime64. Gaps are NaN, NaT, None and, among texts, empty ones.
    """
    names = [column["name"] for column in about["columns"]]
    try:
        columns = [features(*pair) for pair in zip(about["columns"], [rows[n] for n in names])]
        return np.column_stack([part for parts in columns for part in parts])
    except Exception as error:
        raise ValueError(f"the model takes the columns {', '.join(names)}: {error!r}.") from None


def features(column, values):
    values, kind = np.atleast_1d(values), column["kind"]
    if kind == "category":
        codes = {level: k for k, level in enumerate(column["levels"])} | {"": -1}
        texts = ("" if value is None or value != value else str(value) for value in values)
        return np.array(column["rows"], float)[[codes.get(text, -2) for text in texts]].T
    values = values.astype("datetime64[us]" if kind == "date" else float)
    gaps = values != values
    values[gaps] = column["fill"]
    parts = date_parts(values) if kind == "date" else [SCALES[column["scale"]](values)]
    found = [np.where(values == values, parts[k], np.nan) for k in column["parts"]]
    return [*found, gaps] if column["gaps"] else found


def date_parts(times):
    """Year, and sine and cosine of the day in a leap year, of the weekday and of the time."""
    month, day = times.astype("datetime64[M]"), times.astype("datetime64[D]")
    first = np.datetime64("2000-01") + month.astype(int) % 12  # of the month in 2000
    ordinal = (first - np.datetime64("2000-01-01") + (day - month)).astype(int)
    seconds = (times - day).astype("timedelta64[s]").astype(int)
    turns = ordinal / 366, (day.astype(int) + 3) % 7 / 7, seconds / 86400
    waves = [wave(2 * np.pi * turn) for turn in turns for wave in (np.sin, np.cos)]
    return [month.astype(int) // 12 + 1970.0, *waves]
