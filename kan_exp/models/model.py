"""The trained network in the user's own units, and what each of its edges has learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.equations.derivatives import Key
from kan_exp.equations.frame import Frame, inputs_of, read
from kan_exp.errors import KanExpError, listing
from kan_exp.layers import EdgeLayer, KANNamedLayer
from kan_exp.layers.importance import (
    ABLATION,
    GRADIENT,
    MIN_SAMPLES,
    ablation_samples,
    edge_importance,
)
from kan_exp.layers.jets import closure, network_jets
from kan_exp.layers.walk import layers_of, observe_domains, walk
from kan_exp.models.importance import Importance
from kan_exp.models.inputs import as_points
from kan_exp.models.residuals import check_coverage, interval_ends, interval_margins
from kan_exp.models.views import LayerView, make_view
from kan_exp.targets.derivatives import read_derivative
from kan_exp.tasks.activations import find_activation
from kan_exp.tasks.base import scoring_of
from kan_exp.tasks.metrics import QUANTILES

if TYPE_CHECKING:
    from polars import Series

# Numbers that one layer may hold at a time when points are only evaluated, 64 MB in float32.
EVALUATION_NUMBERS = 2**24
MAX_POINTS = 4096


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Puts modules into evaluation mode for a while; afterwards each has the mode it had before."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for part, _ in modes:
            part.training = False
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class KANModel(nn.Module):
    """A network between the standardization of its inputs and that of its outputs.

    Args:
        network: `nn.Sequential` of layers that maps standardized inputs to standardized outputs.
        scaling: Means and deviations of the training data.
        schema: Of the columns that inputs and outputs are made of.
        activation: Makes predictions of the outputs, see `kan_exp.tasks.activations`.
        output_names: Name of each output of the network, such as a class; that of the target if not
            given, of several outputs with numbers from 1.
        smearing: What is added to each output `(out,)` of a logarithmic scale, so that predictions
            are means rather than medians.
        frame: Makes the predictions of the outputs where these solve a differential equation and
            meet conditions exactly.

    Attributes:
        features: Name of each input.
        target_name: Name of the target, or of all in one text.
        classes: Of a classifier, in the order of its predictions; else empty.
        description: Plain containers from which a model of a checkpoint was made; else empty.
        columns: Of a model of `kan_exp.fit`, the names of all columns of X: rows without names are
            these columns, unless they are a tensor of the network's inputs.
        residuals: Errors where the network has not seen the truth, `(m, out)`, on the scale on
            which outputs are learned; None if there are none.

    Shape:
        x `(n, in)` -> `(n, out)`, both in the user's units; of a classifier, the probability of
        each class, `(n, classes)`. `x` may be anything that
        `kan_exp.models.inputs.as_points` takes: a tensor, an array, a list, a table with the
        features or the columns of the schema. A row with a NaN gives NaN.
    """

    description: Mapping[str, Any] = MappingProxyType({})
    residuals: Tensor | None = None
    x_mean: Tensor
    x_std: Tensor
    y_mean: Tensor
    y_std: Tensor

    def __init__(
        self,
        network: nn.Sequential,
        scaling: Scaling,
        schema: Schema,
        activation: str = "identity",
        output_names: Sequence[str] = (),
        smearing: Sequence[float] = (),
        frame: Frame | None = None,
    ) -> None:
        super().__init__()
        self.network, self.schema, self.frame = network, schema, frame
        self.features, self.classes = schema.features, schema.classes
        self.target_name = schema.target_name
        self.output_names, self.smearing = tuple(output_names), tuple(smearing)
        self.activation, self._activate = activation, find_activation(activation)
        for name, value in scaling._asdict().items():
            self.register_buffer(name, value)

    def forward(self, x: Any) -> Tensor:
        scaled = self.scaled(x)
        if not self.schema.scales_outputs:
            return scaled
        return self.schema.decode_outputs(scaled + scaled.new_tensor(self.smearing or 0.0))

    def scaled(self, x: Any) -> Tensor:
        """Predictions on the scale on which outputs are learned, without smearing."""
        points = self.points_of(x)
        scaled = self._activate(self.outputs(points)) * self.y_std + self.y_mean
        return scaled if self.frame is None else self.frame.values(points, scaled)

    def outputs(self, x: Any) -> Tensor:
        """The network's own outputs, standardized and before the activation, `(n, out)`."""
        outputs: Tensor = self.network(self.standardize(self.points_of(x)))
        return outputs

    def points_of(self, x: Any) -> Tensor:
        """Points `(n, in)` as the network takes them, see `kan_exp.models.inputs.as_points`."""
        return as_points(x, self.schema, self.x_mean.device, self.columns)

    def standardize(self, x: Tensor) -> Tensor:
        """Inputs as the network takes them, in its own dtype."""
        scaled = (read(self.frame, x) - self.x_mean) / self.x_std
        parameter = next(self.network.parameters(), scaled)
        return scaled.to(parameter.dtype)

    @torch.no_grad()
    def predict(self, x: Any) -> Tensor:
        """`forward` in evaluation mode, without gradients and a batch at a time."""
        return self._in_batches(self, x)

    @torch.no_grad()
    def derivative(self, x: Any, name: str) -> Tensor:
        """A derivative of the predictions by the inputs, `(n, out)`, in the user's units.

        Args:
            x: As in `forward`.
            name: `d` and the names of inputs, one for each order: `dxx`, `dxt`. `_` may stand
                between names: `d_temp_temp`.

        Raises:
            KanExpError: The name is no derivative, or predictions are no plain outputs, but
                probabilities or on a logarithmic scale.
        """
        key = read_derivative(name, self.features)
        if key is None:
            raise KanExpError(
                f"model.derivative: {name!r} is no derivative by {listing(self.features)}, such as "
                f"'d_{self.features[0]}'."
            )
        if self.activation != "identity" or self.schema.scales_outputs:
            raise KanExpError("model.derivative needs outputs that are plain numbers.")

        def derive(points: Tensor) -> Tensor:
            jets = self.jets(points, [key])
            if self.frame is not None:
                return self.frame.jets(points, jets, [key])[key]
            return jets[key] * self.y_std

        return self._in_batches(derive, x)

    def jets(self, x: Tensor, keys: Iterable[Key]) -> dict[Key, Tensor]:
        """Derivatives of `outputs` by the inputs in the user's units, see `network_jets`."""
        needed = closure(keys)
        inputs = inputs_of(self.frame, x, needed, self.x_mean, self.x_std)
        dtype = next(self.network.parameters(), x).dtype
        return network_jets(self.network, {k: one.to(dtype) for k, one in inputs.items()}, needed)

    @torch.no_grad()
    def predict_outputs(self, x: Any) -> Tensor:
        """`outputs` in evaluation mode, without gradients and a batch at a time."""
        return self._in_batches(self.outputs, x)

    def predict_class(self, x: Any) -> NDArray[np.str_]:
        """The most probable class of each point, `(n,)`.

        Raises:
            KanExpError: The model is no classifier.
        """
        if not self.classes:
            raise KanExpError(
                f"model predicts the number {self.target_name}, not classes: call model.predict(x)."
            )
        return np.array(self.classes)[self.predict(x).argmax(1).cpu().numpy()]

    def as_columns(self, predicted: Tensor) -> dict[str, Series]:
        """Predictions `(n, columns)` by name; of classes, the most probable one first."""
        import polars as pl

        numbers = predicted.double().cpu().numpy()
        columns = [pl.Series(column) for column in numbers.T]
        if not self.classes:
            return {f"{name}_predicted": one for name, one in zip(self.names, columns, strict=True)}
        places = np.where(np.isfinite(numbers).all(1), numbers.argmax(1), len(self.classes))
        best = pl.Series([*self.classes, None], dtype=pl.String).gather(places)
        names = [f"{self.target_name}_probability_{name}" for name in self.classes]
        return {f"{self.target_name}_predicted": best, **dict(zip(names, columns, strict=True))}

    def predict_interval(self, x: Any, coverage: float = 0.9) -> NDArray[np.float64]:
        """Ranges that hold the true value in this share of cases, `(n, out, 2)`.

        Their width is a quantile of the errors at points that the network was not fitted to, see
        `kan_exp.training.left_out`. It is the same everywhere; of outputs that are learned by their
        logarithm, it is the same factor everywhere.

        Args:
            x: As in `predict`.
            coverage: Between 0 and 1.

        Raises:
            KanExpError: See `interval_margins`.
        """
        margins = self.interval_margins(coverage)
        return interval_ends(self.schema, self.predict(x), margins).numpy()

    def interval_margins(self, coverage: float) -> Tensor:
        """By how much intervals exceed predictions on the scale of `residuals`, `(out,)`.

        Raises:
            KanExpError: The share is not between 0 and 1, predictions are no plain numbers, or
                there are too few errors.
        """
        coverage = check_coverage("coverage", coverage)
        if (reason := self._why_no_intervals()) or self.residuals is None:
            raise KanExpError(f"there are no intervals: {reason}")
        return interval_margins(self.residuals, coverage)

    def _why_no_intervals(self) -> str:
        """Why the model has no intervals, as a sentence; empty if it has."""
        if self.classes:
            return f"{self.target_name} is a class, whose predictions are probabilities."
        if "coefficients" in self.description:
            return "the network solves a differential equation, of whose errors it has no sample."
        if scoring_of(self.description).judges == QUANTILES:
            return "the network predicts quantiles, which are the ends of intervals themselves."
        if self.activation != "identity":
            return "the errors of counts grow with them: train with task=quantile instead."
        if self.residuals is None and any(isinstance(one, KANNamedLayer) for one in self.network):
            return (
                "a formula is fitted to no rows by itself: take those of the network that it "
                "explains."
            )
        if self.residuals is None:
            return (
                "the run has stored no errors at rows that its network was not fitted to: train "
                "it again, on few rows with data.folds=5."
            )
        return ""

    def _in_batches(self, function: Callable[[Tensor], Tensor], x: Any) -> Tensor:
        points = self.points_of(x)
        with evaluation_mode(self):
            return torch.cat([function(part) for part in self._batches(points)])

    def _batches(self, x: Tensor) -> Sequence[Tensor]:
        widest = max((layer.numbers_per_sample for layer in self.edge_layers), default=1)
        return x.split(max(1, min(MAX_POINTS, EVALUATION_NUMBERS // widest)))

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.description.get("columns", ()))

    @property
    def edge_layers(self) -> list[EdgeLayer]:
        return layers_of(self.network)

    @property
    def trained_ranges(self) -> NDArray[np.float64]:
        """Smallest and largest value of each input in training, `(in, 2)`; NaN where unknown.

        Checkpoints of early versions lack them; the first layer has observed what it was given.
        """
        if (bounds := self.description.get("bounds")) is not None:
            return np.array(bounds, dtype=np.float64)
        layers = self.edge_layers
        if not layers or layers[0] is not self.network[0]:
            return np.full((len(self.features), 2), np.nan)
        scale, shift = self.x_std.double()[:, None], self.x_mean.double()[:, None]
        return (layers[0].domain.detach().double() * scale + shift).cpu().numpy()

    @torch.no_grad()
    def observe(self, x: Tensor, bounds: Tensor | None = None) -> None:
        """Sets every layer's `domain` to the range of what reaches it when the model sees `x`.

        Args:
            x: Points in the user's units.
            bounds: See `observe_domains`; standardized.
        """
        with evaluation_mode(self.network):
            batches = map(self.standardize, self._batches(x))
            observe_domains(self.network, batches, bounds=bounds)

    def unit_names(self) -> list[list[str]]:
        """Names of inputs, hidden units (`h1`, or `h2.1` in deep networks) and outputs."""
        *hidden, outputs = [layer.dim_out for layer in self.edge_layers] or [1]
        read = None if self.frame is None else self.frame.features
        names = [list(self.features if read is None else read.columns)]
        for depth, width in enumerate(hidden, 1):
            names.append(_numbered(f"h{depth}." if len(hidden) > 1 else "h", width))
        last = [self.target_name] if outputs == 1 else _numbered(self.target_name, outputs)
        return [*names, list(self.output_names) or last]

    @property
    def names(self) -> list[str]:
        """Name of each column of the predictions: a class, a target or a quantile."""
        return list(self.classes) or self.unit_names()[-1]

    @torch.no_grad()
    def views(self, x: Tensor, true_edges: Sequence[Tensor] = ()) -> list[LayerView]:
        """What every layer does to the points `x` `(n, in)`.

        Args:
            x: Points in the user's units.
            true_edges: Per layer, the values of the known true edges at these points, `(n, 1)` or
                `(n, in)`; a layer that they do not fit is left without.
        """
        with evaluation_mode(self.network):
            passes = [
                list(walk(self.network, self.standardize(part), from_edges=True))
                for part in self._batches(x)
            ]
            names, last = self.unit_names(), len(self.edge_layers) - 1
            # The first layer's axis and the last layer's values are shown in the user's units.
            return [
                make_view(
                    visits,
                    names[depth : depth + 2],
                    (self.x_std, self.x_mean) if depth == 0 else (1.0, 0.0),
                    self.y_std if depth == last else 1.0,
                    self._fitting(true_edges, depth),
                )
                for depth, visits in enumerate(zip(*passes, strict=True))
            ]

    def _fitting(self, true_edges: Sequence[Tensor], depth: int) -> Tensor | None:
        """The true edges of a layer, where they mean the same as the network's.

        The first layer's edges read the inputs themselves. Later ones read hidden units, which are
        those of the known formula only if the network has its shape.
        """
        layers = self.edge_layers
        if len(true_edges) != len(layers):
            return None
        fits = [one.dim_in == true.shape[1] for one, true in zip(layers, true_edges, strict=True)]
        return true_edges[depth] if (all(fits) if depth else fits[0]) else None

    def importance(self, x: Any, weight: Tensor | None = None) -> Importance:
        """How much the predictions at the points `x` `(n, in)` change without each edge.

        Of many points, evenly spaced ones are used, so that it takes a few tenths of a second.

        Args:
            x: As in `forward`.
            weight: Of each point, `(n,)`; equal if not given.

        Raises:
            KanExpError: There is no point, or a number is not finite.
        """
        points = self.points_of(x)
        if not len(points) or not points.isfinite().all():
            raise KanExpError(
                f"model.importance takes at least one point, and finite numbers only, got x of "
                f"shape {tuple(points.shape)} with {int((~points.isfinite()).sum())} others."
            )
        count = ablation_samples(self.network)
        method = ABLATION if count >= min(MIN_SAMPLES, len(points)) else GRADIENT
        every = -(-len(points) // max(count, MIN_SAMPLES))
        scaled = self.standardize(points[::every])
        weight = None if weight is None else weight[::every]
        with evaluation_mode(self.network), torch.no_grad():
            layers = edge_importance(self.network, scaled, self._activate, weight, method)
            if method == ABLATION and not all(part.isfinite().all() for part in layers):
                method = GRADIENT  # a known function may not be defined without an edge before it
                layers = edge_importance(self.network, scaled, self._activate, weight, method)
        masks = [layer.exists.cpu().numpy() for layer in layers_of(self.network)]
        arrays = [values.double().cpu().numpy() for values in layers]
        return Importance(arrays, masks, self.unit_names(), method)


def _numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{unit}" for unit in range(1, count + 1)]
