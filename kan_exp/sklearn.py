"""Networks as estimators of scikit-learn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from kan_exp.errors import KanExpError, listing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from polars import DataFrame

    from kan_exp.symbolic.explanation import Explanation

Floats = NDArray[np.float64]
POINTS = ("sample", "residuals")  # of a model's checkpoint
MISSING = ("error", "impute")
# Parameters that are options of conf/ by the same name.
OPTIONS = (
    *("dims", "layer", "optimizer", "steps", "batch_size", "replicas", "prune"),
    *("monotone", "convex"),
)


@dataclass(kw_only=True, eq=False, repr=False)
class _Estimator(BaseEstimator):
    """Base class of both estimators: parameters, checked rows, and the trained network."""

    dims: str | Sequence[Any] | None = None
    layer: str | None = None
    optimizer: str | None = None
    steps: int | None = None
    batch_size: int | None = None
    replicas: int | None = None
    penalty: Mapping[str, float] | None = None
    prune: str | None = None
    monotone: Mapping[str, int] | None = None
    convex: Mapping[str, int] | None = None
    options: Mapping[str, Any] | None = None
    missing: str = "error"
    max_time: float | None = None
    random_state: Any = 0
    verbose: bool = False

    def _train(
        self,
        X: Any,
        y: NDArray[Any],
        weight: Floats | None,
        names: Sequence[str],
        classes: tuple[str, ...] | bool,
        task: str,
        **more: Any,  # options of the task
    ) -> None:
        from kan_exp.fitting.rows import as_frame, make_table
        from kan_exp.fitting.training import named_options, train_table

        with _as_value_errors():
            given = {name: getattr(self, name) for name in OPTIONS}
            given = {name: value for name, value in given.items() if value is not None}
            given |= {f"penalty.{name}": weight for name, weight in (self.penalty or {}).items()}
            given |= {"task": task, **(self.options or {})}
            if "seed" in given:
                raise KanExpError("options: the seed is random_state: set that instead.")
            x = as_frame(X if self._mixed else self._named(X), "x")
            outputs = as_frame({name: y[:, k] for k, name in enumerate(names)}, "y")
            table = make_table(x, outputs, weight, self.missing, classes)
            seed = self.random_state
            if not isinstance(seed, int | np.integer):
                seed = check_random_state(seed).randint(2**31 - 1)
            model, interrupted = train_table(
                table, x.columns, named_options(given), int(seed), more, self.max_time, self.verbose
            )
        if interrupted:
            raise KeyboardInterrupt
        for name in ("explanation_", "formula_"):  # of another training
            self.__dict__.pop(name, None)
        self.model_ = model
        self.n_iter_ = model.description["steps"]

    def _named(self, X: Floats) -> dict[str, Floats]:
        names = list(getattr(self, "feature_names_in_", ()))
        if len({" ".join(name.split()) for name in names}) < X.shape[1]:
            names = [f"x{place}" for place in range(X.shape[1])]
        return {name: X[:, place] for place, name in enumerate(names)}

    def _check_missing(self) -> dict[str, Any]:
        """Options of `validate_data` for X."""
        if self.missing not in MISSING:
            raise self._refused("missing", f"one of {MISSING}")
        for name in ("options", "penalty", "monotone", "convex"):
            if not isinstance(getattr(self, name), Mapping | None):
                raise self._refused(name, "a mapping or None")
        finite = "allow-nan" if self.missing == "impute" else True
        return {"dtype": np.float64, "ensure_all_finite": finite}

    def _refused(self, name: str, rule: str) -> ValueError:
        return ValueError(
            f"The {name!r} parameter of {type(self).__name__} must be {rule}. "
            f"Got {getattr(self, name)!r} instead."
        )

    def _checked(self, X: Any, y: Any, read: Callable[[Any], Any], **options: Any) -> Any:
        """Checked rows and outputs of a training; `read` checks the outputs of mixed frames."""
        from kan_exp.models.inputs import as_table

        X = as_table(X)
        checks, self._mixed = self._check_missing(), _is_mixed(X)
        if not self._mixed:
            return validate_data(self, X, y, ensure_min_samples=2, **options, **checks)
        X, y = validate_data(self, X, skip_check_array=True), read(y)
        check_consistent_length(X, y)
        return X, y

    def _rows(self, X: Any) -> Any:
        """Checked rows as the model takes them."""
        check_is_fitted(self)
        from kan_exp.models.inputs import as_table

        X = as_table(X)
        checks = {"skip_check_array": True} if self._mixed else self._check_missing()
        return validate_data(self, X, reset=False, **checks)

    def _asked(self, X: Any, method: str, *arguments: Any) -> Any:
        """The result of a method of the model for rows."""
        rows = self._rows(X)
        with _as_value_errors():
            return getattr(self.model_, method)(rows, *arguments)

    def _outputs(self, X: Any, method: str) -> Floats:
        values = np.asarray(self._asked(X, method).double().numpy())
        gaps = np.isnan(values).any(1)
        if gaps.any():  # arrays with gaps are refused before
            raise ValueError(
                f"row {int(gaps.argmax()) + 1:,} of X has a gap, which {type(self).__name__} was "
                f"not trained with: fill it in, or train with missing='impute'."
            )
        return values

    def _weights(self, weight: Any, X: Any) -> Floats | None:
        if weight is None:
            return None
        checked = _check_sample_weight(weight, X, dtype=np.float64, ensure_non_negative=True)
        if not checked.any():
            raise ValueError("All sample weights are zero: there is no row to learn from.")
        return np.asarray(checked)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "impute"
        return tags

    @property
    def edges_(self) -> DataFrame:
        """The curves of all edges, a row for each point, see `FittedModel.edges`."""
        check_is_fitted(self)
        return self.model_.edges()

    @property
    def feature_importances_(self) -> Floats:
        """Change of the predictions without each column of X, `(n_features_in_,)`; sums to 1.

        That is the sum over the edges from the column's inputs, see `KANModel.importance`.
        """
        check_is_fitted(self)
        model = self.model_
        values = model.importance(model.sample).layers[0].sum(1)  # (inputs of the network,)
        columns = [one.name for one in model.schema.inputs for _ in one.features]
        total = np.zeros(self.n_features_in_)
        np.add.at(total, [model.columns.index(name) for name in columns], values)
        return total / (total.sum() or 1.0)

    def plot(self, X: Any = None) -> Figure:
        """Draws the network at the rows of X, or at training rows, see `FittedModel.plot`."""
        check_is_fitted(self)
        return self.model_.plot(None if X is None else self._rows(X))

    def explain(self, X: Any = None, y: Any = None, **options: Any) -> Explanation:
        """Finds a formula, see `kan_exp.explain`; sets `explanation_` and `formula_`, its text."""
        check_is_fitted(self)
        with _as_value_errors():
            rows = None if X is None else self._rows(X)
            self.explanation_ = self.model_.explain(rows, y, **options)
        self.formula_ = str(self.explanation_.formula)
        return self.explanation_

    def export(self, path: str | Path, format: str | None = None, **options: Any) -> list[str]:
        """Writes the network to a file that other programs read, see `kan_exp.exporting.export`."""
        check_is_fitted(self)
        with _as_value_errors():
            return self.model_.export(path, format, **options)

    def __getstate__(self) -> dict[str, Any]:
        """Parameters and plain containers of arrays, without objects of torch."""
        state: dict[str, Any] = dict(super().__getstate__())
        state.pop("explanation_", None)
        if (model := state.get("model_")) is not None:
            checkpoint = model.checkpoint()
            weights = {n: part.numpy() for n, part in checkpoint["state_dict"].items()}
            points = {n: None if checkpoint[n] is None else checkpoint[n].numpy() for n in POINTS}
            state["model_"] = {**checkpoint, "state_dict": weights, **points}
        return state

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        state = dict(state)
        if (stored := state.get("model_")) is not None:
            import torch

            from kan_exp.fitting.model import FittedModel

            weights = {n: torch.tensor(values) for n, values in stored["state_dict"].items()}
            points = {n: torch.tensor(stored[n]) for n in POINTS if stored[n] is not None}
            state["model_"] = FittedModel.of({**stored, "state_dict": weights, **points})
        super().__setstate__(state)


@dataclass(kw_only=True, eq=False, repr=False)
class KANRegressor(RegressorMixin, _Estimator):
    """A network of edges that are curves, for numbers.

    Parameters are options of a training by the names of conf/; None is the value that the command
    has for tables. Rows of text, categories, dates and true and false are taken as the command
    takes them, if X is a frame.

    Args:
        dims: Widths from the inputs to the outputs, such as `["auto", 5, "auto"]`; None or "auto"
            leaves all to the data.
        layer: The kind of edges, such as `interpo` or `mlp`; None for `spline`, or the kinds that
            `options` have as `layers`.
        optimizer: By default least squares (`lm`) for fewer than 10,000 rows, else `adam`.
        steps: Of the optimizer.
        batch_size: Of optimizers that follow gradients.
        replicas: Seeds that are trained at once, of which the best is kept; not with `lm`.
        penalty: Weights of penalties by name, such as `{"roughness": 1e-3}`.
        prune: "auto" removes edges that the validation error does not need.
        monotone: Columns in which predictions rise (1) or fall (-1), whatever the others are, such
            as `{"age": 1}`; columns of an array are `x0`, `x1` and so on.
        convex: Columns in which predictions are convex (1) or concave (-1). Of a classifier, both
            hold for `decision_function`, and `monotone` for probabilities, too.
        options: Further options by name, such as `{"layer.num_intervals": 16}`.
        missing: What happens to NaN in X: "error", or "impute" to fill them in.
        max_time: Seconds after which the training ends with the best network so far.
        random_state: Decides the start and which rows are for validation.
        verbose: Whether a progress bar is shown.
        task: What is minimized: `regression`, `huber`, `quantile` or `count`.

    Attributes:
        model_: The network, see `kan_exp.fit`.
        n_iter_: Steps that were taken.
        n_features_in_: Columns of X.
        feature_names_in_: Their names, if all are text.
        formula_: A formula as text, after `explain`.
    """

    task: str = "regression"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KANRegressor:
        """Trains the network.

        Args:
            X: `(n, columns)`, an array or a frame.
            y: `(n,)` or `(n, outputs)`.
            sample_weight: `(n,)`; a whole weight is a number of copies of the row, and a row of
                weight 0 is none.
        """
        from kan_exp.models.inputs import as_table

        y = as_table(y)
        names = list(map(str, getattr(y, "columns", [getattr(y, "name", None) or "y"])))
        read = partial(check_array, ensure_2d=False, dtype=np.float64, input_name="y")
        X, y = self._checked(X, y, read, multi_output=True, y_numeric=True)
        weight = self._weights(sample_weight, X)
        self._one_output = y.ndim == 1
        y = np.asarray(y, np.float64).reshape(len(y), -1)
        if len(names) != y.shape[1]:
            names = [f"y{place}" for place in range(y.shape[1])]
        more = {"primary": "r2"} if y.shape[1] > 1 and self.task == "regression" else {}
        self._train(X, y, weight, names, False, self.task, **more)
        return self

    def predict(self, X: Any) -> Floats:
        """Predictions `(n,)`; `(n, outputs)` of y with two dimensions, or of several quantiles."""
        values = self._outputs(X, "predict")
        return values[:, 0] if self._one_output and values.shape[1] == 1 else values

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Floats:
        """Ranges that hold the true value in this share of cases, `(n, 2)` or `(n, outputs, 2)`.

        See `KANModel.predict_interval`.
        """
        ranges = self._asked(X, "predict_interval", coverage)
        return np.asarray(ranges[:, 0] if self._one_output else ranges)

    def predict_derivative(self, X: Any) -> Floats:
        """Derivatives of the predictions, `(n, columns)` or `(n, outputs, columns)`.

        They are 0 for a column that did not vary in training, and NaN for one that is no number.
        """
        found = self._asked(X, "derivatives")
        return np.asarray(found[:, 0] if self._one_output and found.shape[1] == 1 else found)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.positive_only = self.task == "count"
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class KANClassifier(ClassifierMixin, _Estimator):
    """A network of edges that are curves, for classes.

    Args:
        class_weight: Weights by class, or "balanced".

    The other parameters and attributes are those of `KANRegressor`, without `task`.

    Attributes:
        classes_: The classes, sorted.
    """

    class_weight: str | Mapping[Any, float] | None = None

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> KANClassifier:
        """Trains the network.

        Args:
            X: `(n, columns)`, an array or a frame.
            y: Classes `(n,)`.
            sample_weight: See `KANRegressor.fit`.
        """
        name = getattr(y, "name", None) or "y"
        X, y = self._checked(X, y, partial(column_or_1d, warn=True))
        check_classification_targets(y)
        weight = self._weights(sample_weight, X)
        counts = np.ones(len(y), bool) if weight is None else weight > 0
        self.classes_ = np.unique(y[counts])
        if len(self.classes_) < 2:
            raise ValueError(
                f"{type(self).__name__} needs rows of at least 2 classes, got 1 class: "
                f"{self.classes_[0]!r}."
            )
        names = tuple(str(one) for one in self.classes_.tolist())
        codes = np.searchsorted(self.classes_, y).astype(float)  # of rows of weight 0 any
        codes[~counts] = 0.0
        weights: Any = self.class_weight
        if isinstance(weights, Mapping):
            known = dict(zip(self.classes_.tolist(), names, strict=True))
            unknown = [one for one in weights if one not in known]
            # As in scikit-learn: a fold may lack a class, but then all others have a weight.
            if unknown and not known.keys() <= weights.keys():
                raise ValueError(
                    f"The 'class_weight' parameter of {type(self).__name__} has a weight for "
                    f"{unknown[0]!r}, which is no class of y: {listing(map(repr, known))}."
                )
            weights = {known[one]: weight for one, weight in weights.items() if one in known}
        task = "classification"
        self._train(X, codes[:, None], weight, [str(name)], names, task, class_weights=weights)
        return self

    def decision_function(self, X: Any) -> Floats:
        """Log-odds of the second of two classes `(n,)`, or a logit of each class `(n, classes)`."""
        values = self._outputs(X, "predict_outputs")
        return values[:, 0] if len(self.classes_) == 2 else values

    def predict_proba(self, X: Any) -> Floats:
        """The probability of each class, `(n, classes)`."""
        return self._outputs(X, "predict")

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class, `(n,)`."""
        values = self.decision_function(X)
        places = (values > 0).astype(int) if values.ndim == 1 else values.argmax(1)
        return self.classes_[places]


def _is_mixed(X: Any) -> bool:
    """Whether X is a frame that has columns without numbers."""
    names = getattr(X, "columns", None)
    if names is None or callable(names) or not hasattr(X, "shape"):
        return False
    kinds = (np.asarray(X[[name]][:1]).dtype.kind for name in names)
    return any(kind not in "biuf" for kind in kinds)


@contextmanager
def _as_value_errors() -> Iterator[None]:
    """Raises our errors as scikit-learn's tools expect them."""
    try:
        yield
    except KanExpError as error:
        raise ValueError(str(error)) from error
