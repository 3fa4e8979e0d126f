"""The trained network in the user's own units, and what each of its edges has learned."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Real
from pathlib import Path
from types import MappingProxyType
from typing import Any

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
from kan_exp.layers.nodes import PRODUCT
from kan_exp.layers.walk import LayerPass, layers_of, observe_domains, walk
from kan_exp.models.importance import Importance
from kan_exp.models.inputs import as_points
from kan_exp.models.views import LayerView
from kan_exp.targets.derivatives import read_derivative
from kan_exp.tasks.activations import find_activation
from kan_exp.tasks.base import scoring_of
from kan_exp.tasks.metrics import QUANTILES

# Numbers that one layer may hold at a time when points are only evaluated, 64 MB in float32.
EVALUATION_NUMBERS = 2**24
MAX_POINTS = 4096
CURVE_POINTS = 200
CURVE_MARGIN = 0.15  # of the range of the data, by which curves exceed it on both sides


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
        features: Name of each input.
        target_name: Name of the output; several are numbered from 1.
        activation: Makes predictions of the outputs, see `kan_exp.tasks.activations`.
        output_names: Name of each output of the network, such as a class.
        classes: Of a classifier, in the order of its predictions.
        schema: Of the columns that the features are made of.
        smearing: What is added to each output `(out,)` of a logarithmic scale, so that predictions
            are means rather than medians.
        frame: Makes the predictions of the outputs where these solve a differential equation and
            meet conditions exactly.

    Attributes:
        description: Plain containers from which a model of a checkpoint was made; else empty.
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
        features: Sequence[str],
        target_name: str,
        activation: str = "identity",
        output_names: Sequence[str] = (),
        classes: Sequence[str] = (),
        schema: Schema | None = None,
        smearing: Sequence[float] = (),
        frame: Frame | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.features = tuple(features)
        self.target_name = target_name
        self.activation = activation
        self.output_names, self.classes = tuple(output_names), tuple(classes)
        self.schema, self.smearing = schema, tuple(smearing)
        self.frame = frame
        self._activate = find_activation(activation)
        for name, value in scaling._asdict().items():
            self.register_buffer(name, value)

    def forward(self, x: Any) -> Tensor:
        scaled = self.scaled(x)
        if self.schema is None or not self.schema.scales_outputs:
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
        return as_points(x, self.features, self.x_mean.device, self.schema)

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
        if self.activation != "identity" or (self.schema and self.schema.scales_outputs):
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

    def as_columns(self, predicted: Tensor) -> dict[str, list[str]]:
        """Predictions `(n, columns)` as text by name; of classes, the most probable one first."""
        columns = [[f"{value:.9g}" for value in column] for column in predicted.T.tolist()]
        if not self.classes:
            names = [f"{name}_predicted" for name in self.names]
            return dict(zip(names, columns, strict=True))
        known = predicted.isfinite().all(1)
        places = predicted.argmax(1).where(known, len(self.classes)).tolist()
        names = [f"{self.target_name}_probability_{name}" for name in self.classes]
        best = [[*self.classes, ""][place] for place in places]
        return {f"{self.target_name}_predicted": best, **dict(zip(names, columns, strict=True))}

    def predict_interval(self, x: Any, coverage: float = 0.9) -> NDArray[np.float64]:
        """Ranges that hold the true value in this share of cases, `(n, out, 2)`.

        Their width is the same everywhere, for outputs that are learned by their logarithm as a
        factor: a quantile of the errors at points that the network was not fitted to, see
        `kan_exp.training.left_out`.

        Args:
            x: As in `predict`.
            coverage: Between 0 and 1.

        Raises:
            KanExpError: See `interval_margins`.
        """
        margins = self.interval_margins(coverage)
        return self.intervals(self.predict(x), margins).numpy()

    def interval_margins(self, coverage: float) -> Tensor:
        """By how much intervals exceed predictions on the scale of `residuals`, `(out,)`.

        Raises:
            KanExpError: The share is not between 0 and 1, predictions are no plain numbers, or
                there are too few errors.

        Source:
            J. Lei et al., "Distribution-free predictive inference for regression", JASA 113 (2018);
            R. Barber et al., "Predictive inference with the jackknife+", 2021.
        """
        if not isinstance(coverage, Real) or not 0 < coverage < 1:
            share = isinstance(coverage, Real) and 1 < coverage < 100
            hint = f": use {coverage / 100:g}" if share else ""
            raise KanExpError(f"coverage must be between 0 and 1, got {coverage!r}{hint}.")
        if (reason := self._why_no_intervals()) or self.residuals is None:
            raise KanExpError(f"there are no intervals: {reason}")
        errors = self.residuals.double().cpu().abs().sort(0).values
        count = len(errors)
        place = math.ceil((count + 1) * coverage - 1e-9)
        if place > count:
            most = math.floor(100 * count / (count + 1)) / 100
            raise KanExpError(
                f"intervals for {coverage:.4g} of cases need more than {count} errors at rows that "
                f"the network was not fitted to: ask for {most:g} at most, or train on more rows."
            )
        return errors[place - 1]

    def _why_no_intervals(self) -> str:
        """A sentence, empty if there are some."""
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

    def intervals(self, predicted: Tensor, margins: Tensor) -> Tensor:
        """Ends `(n, out, 2)` of the intervals around predictions `(n, out)`, float64."""
        predicted = predicted.double().cpu()
        if self.schema is None or not self.schema.scales_outputs:
            return torch.stack([predicted - margins, predicted + margins], -1)
        scaled = self.schema.scale_outputs(predicted)
        ends = [self.schema.decode_outputs(scaled + side) for side in (-margins, margins)]
        return torch.stack(ends, -1)

    def export(
        self,
        path: str | Path,
        format: str | None = None,
        **options: Any,
    ) -> list[str]:
        """Writes the model to a file that other programs read, see `kan_exp.exporting.export`.

        Args:
            path: The file.
            format: `npz`, `onnx`, `torch`, `c` or `sql`; None where the file's extension says it.
            options: Of the format.
        """
        if self.frame is not None:
            raise KanExpError(
                "export writes plain networks, and this one is multiplied by pde.factor: call "
                "model.predict, or train it with conditions in the place of pde.factor"
            )
        from kan_exp.exporting import export
        from kan_exp.models.ranges import trained_ranges

        return export(self, path, format, trained_ranges(self), **options)

    def _in_batches(self, function: Callable[[Tensor], Tensor], x: Any) -> Tensor:
        points = self.points_of(x)
        with evaluation_mode(self):
            return torch.cat([function(part) for part in self._batches(points)])

    def _batches(self, x: Tensor) -> Sequence[Tensor]:
        widest = max((layer.numbers_per_sample for layer in self.edge_layers), default=1)
        return x.split(max(1, min(MAX_POINTS, EVALUATION_NUMBERS // widest)))

    @property
    def edge_layers(self) -> list[EdgeLayer]:
        return layers_of(self.network)

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
            return [self._view(visits, true_edges) for visits in zip(*passes, strict=True)]

    def importance(self, x: Any, weight: Tensor | None = None) -> Importance:
        """How much the predictions at the points `x` `(n, in)` change without each edge.

        Of many points it takes as many as need a few tenths of a second, evenly spaced.

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
        return Importance([_array(values) for values in layers], masks, self.unit_names(), method)

    def _view(self, visits: Sequence[LayerPass], true_edges: Sequence[Tensor]) -> LayerView:
        """The view of one layer, which a batch of points after the other has passed."""
        depth, layer = visits[0].index, visits[0].layer
        layers, names = self.edge_layers, self.unit_names()
        inputs = torch.cat([visit.inputs for visit in visits])
        edges = torch.cat([visit.edges for visit in visits])
        unit = torch.linspace(0, 1, CURVE_POINTS).to(inputs)
        low, high = inputs.amin(0), inputs.amax(0)
        labels = layer.labels(names[depth])
        # A known function, such as a root, may not be defined beyond its data.
        margin = (0.0 if labels else CURVE_MARGIN) * (high - low)
        curve = (low - margin) + unit[:, None] * (high - low + 2 * margin)
        # The first layer's axis and the last layer's values are shown in the user's units.
        size, shift = (self.x_std, self.x_mean) if depth == 0 else (1.0, 0.0)
        gain = self.y_std if depth == len(layers) - 1 else 1.0
        return LayerView(
            number=depth + 1,
            input_names=names[depth],
            output_names=names[depth + 1],
            x=_array(inputs * size + shift),
            y=_array(edges * gain),
            curve_x=_array(curve * size + shift),
            curve_y=_array(layer.edges(curve) * gain),
            domain=_array((layer.domain.T * size + shift).T),
            mask=visits[0].mask.cpu().numpy(),
            products=np.array(visits[0].node_operation) == PRODUCT,
            labels=labels,
            truth=_fitting(true_edges, depth, layers),
        )


def smearing(residuals: Tensor, schema: Schema, weight: Tensor | None = None) -> list[float]:
    """What makes means of exponentials of predictions, from their residuals `(n, out)`.

    It is 0 for outputs without a logarithmic scale. Weights of the points are `(n,)`.

    Source:
        Duan, "Smearing estimate: a nonparametric retransformation method", JASA 78 (1983).
    """
    residuals = residuals.double()
    if weight is None:
        logs = residuals.logsumexp(0) - math.log(len(residuals))
    else:
        logs = (residuals + (weight / weight.sum()).log()[:, None]).logsumexp(0)
    found: list[float] = logs.nan_to_num(0.0, 0.0, 0.0).tolist()
    return [one if to.scale else 0.0 for one, to in zip(found, schema.outputs, strict=True)]


def _array(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.double().cpu().numpy()


def _numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{unit}" for unit in range(1, count + 1)]


def _fitting(
    true_edges: Sequence[Tensor], depth: int, layers: list[EdgeLayer]
) -> NDArray[np.float64] | None:
    """The true edges of a layer, where they mean the same as the network's.

    The first layer's edges read the inputs themselves. Later ones read hidden units, which are
    those of the known formula only if the network has its shape.
    """
    if len(true_edges) != len(layers):
        return None
    fits = [layer.dim_in == true.shape[1] for layer, true in zip(layers, true_edges, strict=True)]
    return _array(true_edges[depth]) if (all(fits) if depth else fits[0]) else None
