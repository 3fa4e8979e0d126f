"""Checks of the options of data; no torch."""

from __future__ import annotations

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.targets import Target

MAX_FLOAT32 = 3.4e38
# Inputs and classes of scikit-learn's sets; some inputs of digits are constant.
SKLEARN_SETS: dict[str, tuple[int | None, tuple[str, ...]]] = {
    "diabetes": (10, ()),
    "iris": (4, ("setosa", "versicolor", "virginica")),
    "wine": (13, ("class_0", "class_1", "class_2")),
    "breast_cancer": (30, ("benign", "malignant")),
    "digits": (None, tuple("0123456789")),
}


def check_whole(name: str, value: object, least: int) -> None:
    """Raises a `KanExpError` if a seed or a size is no whole number in its range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**60:
        below = " and below 2**60" if isinstance(value, int) and value >= 2**60 else ""
        raise KanExpError(
            f"{name} must be a whole number of at least {least}{below}, got {value!r}."
        )


def check_batch_size(batch_size: int | None) -> None:
    """Raises a `KanExpError` if a batch has no points."""
    if batch_size is not None and batch_size < 1:
        raise KanExpError(f"batch_size must be at least 1 or null (all), got {batch_size}.")


def check_sampled(
    target: Target,
    num_train: object,
    num_val: object,
    num_test: object,
    train_option: str = "data.num_train",
    border: object = 0.0,
) -> None:
    """Raises a `KanExpError` if options of `SampledData` are out of range.

    `train_option` is the option that sets the number of training points.
    """
    counts = {train_option: num_train, "data.num_val": num_val, "data.num_test": num_test}
    for name, count in counts.items():
        check_whole(name, count, least=2)
    if isinstance(border, bool) or not isinstance(border, int | float) or not 0 <= border < 1:
        raise KanExpError(f"data.border must be at least 0 and below 1, got {border!r}.")
    for name, (low, high) in zip(target.inputs, target.domain, strict=True):
        if high - low > MAX_FLOAT32:
            raise KanExpError(
                f"target.domain of {name}, [{low:g}, {high:g}], is too wide for float32: narrow it."
            )
        if high - low < 1e-4 * max(abs(low), abs(high)):
            raise KanExpError(
                f"target.domain of {name}, [{low:g}, {high:g}], is too narrow so far from zero "
                f"for float32: shift the formula's input."
            )


def sklearn_schema(name: object, target: object = None) -> tuple[int | None, tuple[str, ...]]:
    """Number of inputs and names of the classes of one of scikit-learn's sets, which is not read.

    `target` is a measured column that is learned instead of the set's own output. The number is
    None where some inputs may be constant.

    Raises:
        KanExpError: There is no such set.
    """
    if not isinstance(name, str) or name not in SKLEARN_SETS:
        hint = suggest(str(name), SKLEARN_SETS)
        raise KanExpError(f"data.name must be one of {listing(SKLEARN_SETS)}, got {name!r}.{hint}")
    width, classes = SKLEARN_SETS[name]
    if target is None:
        return width, classes
    return width and width - 1, ()
