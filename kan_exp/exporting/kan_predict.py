"""Evaluates a network that kan_exp has exported as npz. It needs NumPy alone.

`Model("model.npz")({"a": 1.5, "city": "Rome"})` takes a value or an array for each column.
"""

import json

import numpy as np


class Model:
    """`about` describes the model. A damaged file, or one with pickled objects, is a ValueError."""

    def __init__(self, path):
        try:
            given = path if hasattr(path, "read") else open(path, "rb")  # noqa: PTH123, SIM115
            with given, np.load(given, allow_pickle=False) as file:
                part = {name: file[name] for name in file.files}
            self.about = json.loads(str(part["about"]))
            self.x_mean, self.x_std = part["x_mean"], part["x_std"]
            self.y_mean, self.y_std = part["y_mean"], part["y_std"]
            names = self.about["arrays"]
            layers = range(self.about["layers"])
            self.layers = [self._layer(*(part[f"{name}{k}"] for name in names)) for k in layers]
        except FileNotFoundError:
            raise
        except Exception as error:  # noqa: BLE001 - of any kind where the file is damaged
            text = f"{path}: is no exported model, or is damaged ({error}): export it again."
            raise ValueError(text) from None

    @staticmethod
    def _layer(first, spacing, table, scale, basis, products):
        windows = np.lib.stride_tricks.sliding_window_view(table * scale, len(basis), axis=1)
        cells = np.einsum("icok,pk->icpo", windows, basis, optimize=True)
        # One more cell at each end, where edges go on as straight lines.
        ends = np.zeros((2, len(cells), 1, *cells.shape[2:]))
        ends[0, :, 0, 1] = cells[:, 0, 1]
        ends[0, :, 0, 0] = cells[:, 0, 0] - cells[:, 0, 1]
        ends[1, :, 0, 0] = cells[:, -1].sum(1)
        ends[1, :, 0, 1] = (cells[:, -1] * np.arange(len(basis))[:, None]).sum(1)
        cells = np.concatenate([ends[0], cells, ends[1]], 1).astype(np.float32)
        grid = first.astype(np.float32), spacing.astype(np.float32), cells.shape[1] - 1
        return *grid, np.arange(len(cells)), np.arange(len(basis)), cells, products

    def __call__(self, rows):
        """Predictions `(n, outputs)` of columns by name, or of the features `(n, in)`."""
        x = self.encode(rows) if hasattr(rows, "keys") else np.array(rows, float, ndmin=2)
        parts = [x[k : k + 512] for k in range(0, max(1, len(x)), 512)]
        found = [self.decode(self.network((part - self.x_mean) / self.x_std)) for part in parts]
        return found[0] if len(found) == 1 else np.concatenate(found)

    def network(self, x):
        """Sums and products of polynomials, each of the place in its cell."""
        x = x.astype(np.float32)
        for first, spacing, last, inputs, exponents, cells, products in self.layers:
            place = (x - first) / spacing + 1
            cell = np.fmin(np.fmax(place, 0), last).astype(np.intp)
            powers = (place - cell)[..., None] ** exponents
            found = cells[inputs, cell]  # (n, in, powers, out)
            flat = len(x), len(inputs) * len(exponents)
            x = (powers.reshape(flat[0], 1, flat[1]) @ found.reshape(*flat, -1))[:, 0]
            if products.any():
                edges = (powers[:, :, None] @ found)[:, :, 0]
                x = np.where(products, edges.prod(1), x)
        return x

    def encode(self, rows):
        """The features `(n, in)` of columns: numbers, texts of categories, dates (datetime64)."""
        columns = self.about["columns"]
        if self.about["plain"]:
            return (
                np.array([rows[one["name"]] for one in columns], float).reshape(len(columns), -1).T
            )
        parts = []
        for one in columns:
            values, fill = np.atleast_1d(rows[one["name"]]), one["fill"]
            if one["kind"] == "category":
                codes = {level: k for k, level in enumerate(one["levels"])} | {None: -1, "": -1}
                known = [
                    codes.get(str(v) if v == v and v is not None else None, -2) for v in values
                ]
                parts.append(np.array(one["rows"], float)[known])
                continue
            if one["kind"] == "date":
                values = values.astype("datetime64[us]")
                missing = np.isnat(values)
                dates = np.where(missing, np.datetime64(int(fill or 0), "us"), values)
                found = [date_parts(dates)[name] for name in one["parts"]]
            else:
                values = values.astype(float)
                missing = np.isnan(values)
                numbers = values if fill is None else np.where(missing, fill, values)
                found = [getattr(np, one["scale"] or "positive")(numbers)]
            if fill is None:
                found = [np.where(missing, np.nan, part) for part in found]
            parts += [*found, missing] if one["gaps"] else found
        return np.column_stack(parts).astype(float)

    def decode(self, y):
        """Predictions in their units, or each class's probability, from the outputs."""
        kind = self.about["activation"]
        if kind == "classes" and y.shape[1] == 1:
            y = np.concatenate([-y, y], 1)
            kind = "sigmoid"
        if kind == "sigmoid":
            y = np.exp(-np.logaddexp(0, -y))
        elif kind in ("classes", "softmax"):
            y = np.exp(y - y.max(1, keepdims=True))
            y /= y.sum(1, keepdims=True)
        elif kind == "exp":
            y = np.exp(y)
        y = y * self.y_std + self.y_mean
        if any(self.about["scales"]):
            inverse = {"": np.positive, "log": np.exp, "log1p": np.expm1}
            columns = zip((y + self.about["smearing"]).T, self.about["scales"], strict=True)
            y = np.column_stack([inverse[scale](column) for column, scale in columns])
        return y

    def outside(self, rows):
        """Which rows lie far outside of what the network was trained on, `(n,)`."""
        x = self.encode(rows) if hasattr(rows, "keys") else np.array(rows, float, ndmin=2)
        low, high = np.array(self.about["ranges"], float).T
        room = self.about["margin"] * (high - low)
        return ((x < low - room) | (x > high + room)).any(1)


def date_parts(dates):
    """What networks see of dates; a day of the year is the same in leap years."""
    month, day = dates.astype("datetime64[M]"), dates.astype("datetime64[D]")
    first = np.datetime64("2000-01", "M") + (month.astype(int) % 12)  # of the month in 2000
    ordinal = (first.astype("datetime64[D]") - np.datetime64("2000-01-01")).astype(int)
    ordinal += (day - month.astype("datetime64[D]")).astype(int)
    seconds = (dates - day).astype("timedelta64[s]").astype(int)
    parts = {"year": dates.astype("datetime64[Y]").astype(int) + 1970.0}
    shares = ordinal / 366, (day.astype(int) + 3) % 7 / 7, seconds / 86400
    for name, share in zip(("dayofyear", "weekday", "time"), shares, strict=True):
        parts[f"{name}_sin"] = np.sin(2 * np.pi * share)
        parts[f"{name}_cos"] = np.cos(2 * np.pi * share)
    return parts
