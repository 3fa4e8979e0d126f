"""Networks as estimators of scikit-learn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from kan_exp.errors import listing
from kan_exp.fitting.estimator import Estimator, Floats


@dataclass(kw_only=True, eq=False, repr=False)
class KANRegressor(RegressorMixin, Estimator):
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

    Example:
        >>> import numpy as np
        >>> from kan_exp.sklearn import KANRegressor
        >>> X = np.linspace(0, 1, 50)[:, None]
        >>> KANRegressor().fit(X, np.exp(X[:, 0])).predict([[0.0]]).round(2).tolist()
        [1.0]
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
        X, y = self._check_training(X, y, read, multi_output=True, y_numeric=True)
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
        values = self._predicted(X, "predict")
        return values[:, 0] if self._one_output and values.shape[1] == 1 else values

    def predict_interval(self, X: Any, coverage: float = 0.9) -> Floats:
        """Ranges that hold the true value in this share of cases, `(n, 2)` or `(n, outputs, 2)`.

        See `KANModel.predict_interval`.
        """
        ranges = self._call_model(X, "predict_interval", coverage)
        return np.asarray(ranges[:, 0] if self._one_output else ranges)

    def predict_derivative(self, X: Any) -> Floats:
        """Derivatives of the predictions, `(n, columns)` or `(n, outputs, columns)`.

        They are 0 for a column that did not vary in training, and NaN for one that is no number.
        """
        found = self._call_model(X, "derivatives")
        return np.asarray(found[:, 0] if self._one_output and found.shape[1] == 1 else found)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.target_tags.positive_only = self.task == "count"
        return tags


@dataclass(kw_only=True, eq=False, repr=False)
class KANClassifier(ClassifierMixin, Estimator):
    """A network of edges that are curves, for classes.

    Args:
        class_weight: Weights by class, or "balanced".

    The other parameters and attributes are those of `KANRegressor`, without `task`.

    Attributes:
        classes_: The classes, sorted.

    Example:
        >>> import numpy as np
        >>> from kan_exp.sklearn import KANClassifier
        >>> X = np.linspace(0, 1, 50)[:, None]
        >>> KANClassifier().fit(X, X[:, 0] > 0.5).predict([[0.1], [0.9]]).tolist()
        [False, True]
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
        X, y = self._check_training(X, y, partial(column_or_1d, warn=True))
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
        values = self._predicted(X, "predict_outputs")
        return values[:, 0] if len(self.classes_) == 2 else values

    def predict_proba(self, X: Any) -> Floats:
        """The probability of each class, `(n, classes)`."""
        return self._predicted(X, "predict")

    def predict(self, X: Any) -> NDArray[Any]:
        """The most probable class, `(n,)`."""
        values = self.decision_function(X)
        places = (values > 0).astype(int) if values.ndim == 1 else values.argmax(1)
        return self.classes_[places]
