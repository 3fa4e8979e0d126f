"""What the estimators of scikit-learn share: parameters, checked rows, and the trained network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from kan_exp.errors import KanExpError

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
class Estimator(BaseEstimator):
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

        with as_value_errors():
            given = {name: getattr(self, name) for name in OPTIONS}
            given = {name: value for name, value in given.items() if value is not None}
            given |= {f"penalty.{name}": weight for name, weight in (self.penalty or {}).items()}
            given |= {"task": task, **(self.options or {})}
            if "seed" in given:
                raise KanExpError("options: the seed is random_state: set that instead.")
            x = as_frame(X if self._mixed else self._with_names(X), "x")
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

    def _with_names(self, X: Floats) -> dict[str, Floats]:
        names = list(getattr(self, "feature_names_in_", ()))
        if len({" ".join(name.split()) for name in names}) < X.shape[1]:
            names = [f"x{place}" for place in range(X.shape[1])]
        return {name: X[:, place] for place, name in enumerate(names)}

    def _check_missing(self) -> dict[str, Any]:
        """Options of `validate_data` for X."""
        if self.missing not in MISSING:
            raise self._parameter_error("missing", f"one of {MISSING}")
        for name in ("options", "penalty", "monotone", "convex"):
            if not isinstance(getattr(self, name), Mapping | None):
                raise self._parameter_error(name, "a mapping or None")
        finite = "allow-nan" if self.missing == "impute" else True
        return {"dtype": np.float64, "ensure_all_finite": finite}

    def _parameter_error(self, name: str, rule: str) -> ValueError:
        return ValueError(
            f"The {name!r} parameter of {type(self).__name__} must be {rule}. "
            f"Got {getattr(self, name)!r} instead."
        )

    def _check_training(self, X: Any, y: Any, read: Callable[[Any], Any], **options: Any) -> Any:
        """Checked rows and outputs of a training; `read` checks the outputs of mixed frames."""
        from kan_exp.models.inputs import as_table

        X = as_table(X)
        checks, self._mixed = self._check_missing(), _is_mixed(X)
        if not self._mixed:
            return validate_data(self, X, y, ensure_min_samples=2, **options, **checks)
        X, y = validate_data(self, X, skip_check_array=True), read(y)
        check_consistent_length(X, y)
        return X, y

    def _check_rows(self, X: Any) -> Any:
        """Checked rows as the model takes them."""
        check_is_fitted(self)
        from kan_exp.models.inputs import as_table

        X = as_table(X)
        checks = {"skip_check_array": True} if self._mixed else self._check_missing()
        return validate_data(self, X, reset=False, **checks)

    def _call_model(self, X: Any, method: str, *arguments: Any) -> Any:
        """The result of a method of the model for rows."""
        rows = self._check_rows(X)
        with as_value_errors():
            return getattr(self.model_, method)(rows, *arguments)

    def _predicted(self, X: Any, method: str) -> Floats:
        values = np.asarray(self._call_model(X, method).double().numpy())
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
        return self.model_.plot(None if X is None else self._check_rows(X))

    def explain(self, X: Any = None, y: Any = None, **options: Any) -> Explanation:
        """Finds a formula, see `kan_exp.explain`; sets `explanation_` and `formula_`, its text."""
        check_is_fitted(self)
        with as_value_errors():
            rows = None if X is None else self._check_rows(X)
            self.explanation_ = self.model_.explain(rows, y, **options)
        self.formula_ = str(self.explanation_.formula)
        return self.explanation_

    def export(self, path: str | Path, format: str | None = None, **options: Any) -> list[str]:
        """Writes the network to a file that other programs read, see `kan_exp.exporting.export`."""
        check_is_fitted(self)
        with as_value_errors():
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


def _is_mixed(X: Any) -> bool:
    """Whether X is a frame that has columns without numbers."""
    names = getattr(X, "columns", None)
    if names is None or callable(names) or not hasattr(X, "shape"):
        return False
    kinds = (np.asarray(X[[name]][:1]).dtype.kind for name in names)
    return any(kind not in "biuf" for kind in kinds)


@contextmanager
def as_value_errors() -> Iterator[None]:
    """Raises our errors as scikit-learn's tools expect them."""
    try:
        yield
    except KanExpError as error:
        raise ValueError(str(error)) from error
