"""Evaluates a network that kan_exp has exported as npz. It needs NumPy alone.

`Model("model.npz")({"a": 1.5, "city": "Rome"})` takes a value or an array for each column.
"""

import json

import numpy as np

FORMAT = 2  # of the files that this one reads
GRID = ("slope", "shift", "inputs", "exponents", "products")  # arrays of each layer
LINKS = {
    "identity": lambda y: y,
    "exp": np.exp,
    "sigmoid": lambda y: 1 / (1 + np.exp(-y)),
    "softmax": lambda y: np.exp(y - np.logaddexp.reduce(y, axis=1, keepdims=True)),
}


class Model:
    """`about` describes the model. A damaged file, or one with pickled objects, is a ValueError."""

    def __init__(self, path):
        try:
            with path if hasattr(path, "read") else open(path, "rb") as stream:  # noqa: PTH123
                part = dict(np.load(stream, allow_pickle=False))
            self.about = json.loads(str(part["about"]))
            if self.about["format"] != FORMAT:
                raise ValueError(f"its format is {self.about['format']}, not {FORMAT}")
            self.low, self.high = part["low"], part["high"]
            self.y_std, self.y_mean = part["y_std"], part["y_mean"]
            layers = range(self.about["layers"])
            grids = [[part[f"{name}{k}"] for name in GRID] for k in layers]
            cells = [part[f"cells{k}"] * part[f"scale{k}"].astype(float) for k in layers]
            self.layers = list(zip(grids, cells, strict=True))
        except FileNotFoundError:
            raise
        except Exception as error:  # noqa: BLE001 - of any kind where the file is damaged
            text = f"{path}: is no exported model, or is damaged ({error}): export it again."
            raise ValueError(text) from None

    def __call__(self, rows):
        """Predictions `(n, outputs)` of columns by name, or of the network's inputs `(n, in)`."""
        y = LINKS[self.about["link"]](self.network(self.encode(rows))) * self.y_std + self.y_mean
        for k, shift in self.about["logarithms"]:
            y[:, k] = np.exp(y[:, k]) - shift
        return y

    def network(self, x):
        """Sums or products of polynomials; the first and the last cell of each is a line."""
        if len(x) > 512:  # of which all cells would need much memory
            return np.concatenate([self.network(x[k : k + 512]) for k in range(0, len(x), 512)])
        for (slope, shift, inputs, exponents, products), cells in self.layers:
            place = x * slope + shift
            cell = np.fmin(np.fmax(place, 0), cells.shape[1] - 1).astype(int)
            powers = (place - cell)[..., None] ** exponents
            found = cells[inputs, cell]  # (n, in, powers, out)
            x = np.einsum("nip,nipo->no", powers, found)
            if products.size:
                x[:, products] = np.einsum("nip,nipo->nio", powers, found[..., products]).prod(1)
        return x

    def encode(self, rows):
        """The network's inputs `(n, in)`: numbers, texts of categories, dates (datetime64)."""
        columns = self.about["columns"]
        if not hasattr(rows, "keys"):
            x = np.array(rows, float, ndmin=2)
            if x.shape[1:] != self.low.shape:
                raise ValueError(f"the model takes (n, {len(self.low)}) numbers, got {x.shape}.")
            return x
        if self.about["plain"]:
            x = [rows[column["name"]] for column in columns]
            return np.array(x, float).reshape(len(columns), -1).T
        return np.column_stack([part for one in columns for part in features(one, rows)])

    def outside(self, rows):
        """Which rows lie far outside of what the network was trained on, `(n,)`."""
        x = self.encode(rows)
        return ((x < self.low) | (x > self.high)).any(1)


def features(column, rows):
    """What a column becomes."""
    values, kind = np.atleast_1d(rows[column["name"]]), column["kind"]
    if kind == "category":
        codes = {level: k for k, level in enumerate(column["levels"])} | {"": -1}
        texts = ("" if value is None or value != value else str(value) for value in values)
        return np.array(column["rows"], float)[[codes.get(text, -2) for text in texts]].T
    values = values.astype("datetime64[us]" if kind == "date" else float)
    gaps = values != values
    values[gaps] = column["fill"]
    parts = date_parts(values) if kind == "date" else [getattr(np, column["scale"])(values)]
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
