"""Evaluates a network that kan_exp has exported as npz; it needs NumPy alone."""

import json

import numpy as np


class Model:
    """`Model("m.npz")({"a": 1.5, "b": 2})` is `(1, outputs)`; columns may be arrays `(n,)`."""

    def __init__(self, path):
        try:
            with path if hasattr(path, "read") else open(path, "rb") as file:
                part = self.part = dict(np.load(file, allow_pickle=False))
            self.about = json.loads(str(part["about3"]))
            self.layers = [
                (*part[f"grid{k}"], part[f"cells{k}"] * part[f"scale{k}"], part[f"products{k}"])
                for k in range(self.about["layers"])
            ]
        except Exception as error:
            raise ValueError(f"cannot read {path} ({error!r}): export it again.") from None

    def __call__(self, rows):
        y = self.network(self.inputs(rows))
        if self.about["activation"] == "softmax":
            y = y - np.logaddexp.reduce(y, 1, keepdims=True)
        elif self.about["activation"] == "sigmoid":
            y = -np.logaddexp(0, -y)
        y = y * self.part["y_std"] + self.part["y_mean"]
        for k, shift in self.about["exponentials"]:
            y[:, k] = np.exp(y[:, k]) - shift
        return y

    def outside(self, rows):
        """Which rows lie far outside of what the network was trained on, `(n,)`."""
        x = self.inputs(rows)
        return ((x < self.part["low"]) | (x > self.part["high"])).any(1)

    def inputs(self, rows):
        names = self.about["features"]
        try:
            if not isinstance(rows, (list, tuple, np.ndarray)):
                rows = np.array([rows[name] for name in names]).T
            x = np.array(rows, float, ndmin=2)
            return x.reshape(len(x), len(names))
        except Exception as error:
            raise ValueError(f"the model takes numbers of {names}: {error!r}.") from None

    def network(self, x):
        if len(x) > 512:  # whose cells would need much memory
            return np.concatenate([self.network(x[k : k + 512]) for k in range(0, len(x), 512)])
        for slope, shift, cells, products in self.layers:
            place = x * slope + shift
            cell = np.fmin(np.fmax(place, 0), cells.shape[1] - 1).astype(int)
            powers = (place - cell)[..., None] ** np.arange(cells.shape[2])
            found = cells[np.arange(len(cells)), cell]  # (n, in, powers, out)
            x = np.einsum("nip,nipo->no", powers, found)
            if len(products):
                x[:, products] = np.einsum("nip,nipo->nio", powers, found[..., products]).prod(1)
        return x
