"""The model that `kan_exp.fit` and `kan_exp.load` return: a network with what one does with it."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kan_exp.errors import KanExpError, listing
from kan_exp.models.loading import load_from, model_from
from kan_exp.models.model import KANModel
from kan_exp.runs.files import replacing
from kan_exp.runs.folders import CHECKPOINTS
from kan_exp.runs.results import NAME as METRICS
from kan_exp.tasks.base import scoring_of
from kan_exp.tasks.metrics import CLASSES, NUMBERS
from kan_exp.tasks.metrics import METRICS as KNOWN

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from polars import DataFrame

    from kan_exp.symbolic.explanation import Explanation

SAMPLE = 1000  # points that a model keeps of its training


class FittedModel(KANModel):
    """A `KANModel` that draws, explains and saves itself.

    Attributes:
        sample: At most `SAMPLE` training points as the network takes them, `(n, in)`, at which
            edges are looked at where no others are given; of a run they are drawn at random from
            the range of its training points.

    Example:
        >>> import kan_exp
        >>> model = kan_exp.formula_network("2*x + y**2")
        >>> model.predict({"x": [1.0, 0.5], "y": [0.0, 3.0]}).flatten().tolist()
        [2.0, 10.0]
        >>> model.edges().select("input", "output", "function").unique().sort("input").rows()
        [('x', 'f', '2*x'), ('y', 'f', 'y**2')]
    """

    sample: Tensor

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any], replica: int | None = None) -> FittedModel:
        """The model of a checkpoint in memory."""
        model = cast(FittedModel, model_from(checkpoint, replica, cls))
        model._set_sample(checkpoint.get("sample"))
        return model

    def _set_sample(self, sample: Tensor | None) -> None:
        if sample is None:
            low, high = self.x_mean - 2 * self.x_std, self.x_mean + 2 * self.x_std
            if "bounds" in self.description:  # not in checkpoints of old versions
                low, high = torch.tensor(self.description["bounds"], dtype=torch.float64).unbind(1)
            generator = torch.Generator().manual_seed(0)
            unit = torch.rand(SAMPLE, len(low), generator=generator, dtype=torch.float64)
            sample = low + unit * (high - low)
        self.sample = sample

    def score(self, x: Any, y: Any, weight: Any = None) -> float:
        """R² of numbers, the mean over several outputs; the accuracy of classes.

        Args:
            x: As in `predict`.
            y: True values `(n,)` or `(n, out)`, or names of classes.
            weight: Of the rows, `(n,)`.

        Raises:
            KanExpError: The model predicts quantiles, or shapes differ.
        """
        judges = scoring_of(self.description).judges
        if judges not in (NUMBERS, CLASSES):
            raise KanExpError(f"score judges numbers and classes, but the model predicts {judges}.")
        predicted = self.predict(x).double().cpu()
        truth = torch.from_numpy(self._truth(y, len(predicted)))
        weights = None if weight is None else torch.as_tensor(np.asarray(weight, np.float64))
        metric = KNOWN["r2" if judges == NUMBERS else "accuracy"]
        return metric.measure(predicted, truth, weights).item()

    def _truth(self, y: Any, rows: int) -> NDArray[np.float64]:
        from kan_exp.fitting.rows import as_frame

        if self.classes:
            from kan_exp.data.fields import level_names

            names = level_names(as_frame(y, "y").to_series())
            codes = {name: place for place, name in enumerate(self.classes)}
            if unknown := [name for name in names.unique() if name not in codes]:
                raise KanExpError(f"y has {unknown[0]!r}, which is no class of the model.")
            values = np.array([codes[name] for name in names], np.float64)[:, None]
        else:
            values = as_frame(y, "y").to_numpy().astype(np.float64)
        if len(values) != rows:
            raise KanExpError(f"X has {rows:,} rows, but y has {len(values):,}.")
        return values

    def derivatives(self, x: Any) -> NDArray[np.float64]:
        """Derivatives of the predictions, `(n, out, columns)`.

        Columns are those of X, or the network's inputs if its rows have no others. A column that
        did not vary in training has 0, and one that is no number NaN.
        """
        points = self.points_of(x).detach().double().requires_grad_()
        with torch.enable_grad():
            predicted = self(points)
            parts = [
                torch.autograd.grad(one.sum(), points, retain_graph=True)[0] for one in predicted.T
            ]
        slopes = torch.stack(parts, 1).cpu().numpy()
        if not self.columns:
            return slopes
        found = np.zeros((*slopes.shape[:2], len(self.columns)))
        place = 0
        for column in self.schema.inputs:
            plain = column.kind == "number" and not column.scale
            values = slopes[:, :, place] if plain else np.nan
            found[:, :, self.columns.index(column.name)] = values
            place += len(column.features)
        return found

    def _points_or_sample(self, x: Any) -> Tensor:
        return self.sample.to(self.x_mean.device) if x is None else self.points_of(x)

    def edges(self, x: Any = None) -> DataFrame:
        """The curves of all edges: a row for each point of a curve.

        Args:
            x: Points whose range the curves are drawn over, and at which the importance of edges
                is measured; the model's own if not given.

        Returns:
            `layer` (from 1), `input`, `output`, `importance` (see `KANModel.importance`), `x` and
            `y`: the first layer's `x` and the last layer's `y` are in the user's units. With edges
            that are known functions also `function`, a formula of the edge's input.
        """
        import polars as pl

        points = self._points_or_sample(x)
        measured, views = self.importance(points), self.views(points)
        texts = ["input", "output", *(["function"] if any(view.labels for view in views) else [])]
        kinds = {"layer": pl.Int32, **dict.fromkeys(texts, pl.String)}
        kinds |= dict.fromkeys(("importance", "x", "y"), pl.Float64)
        parts = [pl.DataFrame(schema=kinds)]  # for a network without an edge
        for view, important, mask in zip(views, measured.layers, measured.masks, strict=True):
            for i, j in np.argwhere(mask):
                columns = {
                    "layer": view.number,
                    "input": view.input_names[i],
                    "output": view.output_names[j],
                    "function": view.labels[i][j] if view.labels else None,
                    "importance": float(important[i, j]),
                    "x": view.curve_x[:, i],
                    "y": view.curve_y[:, i, j],
                }
                parts.append(pl.DataFrame({name: columns[name] for name in kinds}, schema=kinds))
        return pl.concat(parts)

    def plot(self, x: Any = None) -> Figure:
        """Draws the network: every edge as a small curve, wide where it is important.

        Args:
            x: Points to look at; the model's own if not given.
        """
        from kan_exp.plots import network_figure

        points = self._points_or_sample(x)
        return network_figure(self.views(points), self.importance(points))

    def explain(self, x: Any = None, y: Any = None, **options: Any) -> Explanation:
        """Finds a formula: `kan_exp.explain(model, x, y, **options)`.

        Args:
            x: Points; the model's own if not given.
            y: Their true values.
            options: Those of `kan_exp.explain`, such as `seconds`.
        """
        from kan_exp.symbolic.explaining import explain

        return explain(self, self._points_or_sample(x), y, **options)

    def export(self, path: str | Path, format: str | None = None, **options: Any) -> list[str]:
        """Writes the model to a file that other programs read, see `kan_exp.exporting.export`.

        Args:
            path: The file.
            format: `npz`, `onnx`, `torch`, `c` or `sql`; by default that of the file's extension.
            options: Of the format.

        Returns:
            Lines about the file.
        """
        from kan_exp.exporting import export

        return export(self, path, format, **options)

    def checkpoint(self) -> dict[str, Any]:
        """What `of` makes the model of again: plain containers and tensors."""
        weights = {f"model.{name}": part.cpu() for name, part in self.state_dict().items()}
        return {
            "kan_exp": dict(self.description),
            "state_dict": weights,
            "global_step": int(self.description.get("steps", 0)),
            "sample": self.sample.cpu(),
            "residuals": self.residuals,
        }

    def save(self, folder: str | Path) -> Path:
        """Writes the model into a folder, from which `kan_exp.load` reads it.

        Raises:
            KanExpError: A run has written the folder.
            OSError: The file cannot be written.
        """
        folder = Path(folder)
        if (folder / METRICS).exists():
            raise KanExpError(f"{folder} has the results of a run: save the model elsewhere.")
        path = folder / CHECKPOINTS[0]
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            torch.save(self.checkpoint(), file)
        return folder

    @property
    def _title(self) -> str:
        widths = [layer.dim_in for layer in self.edge_layers[:1]]
        widths += [layer.dim_out for layer in self.edge_layers]
        kinds = dict.fromkeys(type(layer).__name__ for layer in self.edge_layers)
        dims = ",".join(map(str, widths))
        return f"{' and '.join(kinds)} [{dims}]: {listing(self.features, 6)} → {self.target_name}"

    def _repr_html_(self) -> str:
        from kan_exp.plots.saving import png

        image = base64.b64encode(png(self.plot())).decode()
        title = html.escape(self._title)
        return (
            f'<div>{title}<br><img alt="network" style="max-width:100%" '
            f'src="data:image/png;base64,{image}"></div>'
        )


def load(folder: str | Path, replica: int | None = None) -> FittedModel:
    """Loads a trained network from the folder of its run, or where `save` has put it.

    Args:
        folder: `outputs/<date>/<run>`, as the training printed it.
        replica: Which replica of a run with `replicas=N`, from 0; the best on validation if not
            given. Each is loaded as it was when it was best on validation.

    Returns:
        The model on the CPU, in evaluation mode and frozen: `model(x)` takes and gives the user's
        own units, with a gradient where `x` has one; `model.network` is the plain `nn.Sequential`.
        `model.requires_grad_()` makes its parameters trainable again.

    Raises:
        KanExpError: There is no readable checkpoint, its layer is unknown, or there is no such
            replica.

    Example:
        >>> import kan_exp, tempfile
        >>> folder = kan_exp.formula_network("x**2").save(tempfile.mkdtemp())
        >>> kan_exp.load(folder).predict([3.0]).item()
        9.0
    """
    return load_from(folder, lambda checkpoint: FittedModel.of(checkpoint, replica))
