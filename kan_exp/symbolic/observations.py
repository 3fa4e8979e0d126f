"""What a formula is sought for: tables of numbers, and networks, read into arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from kan_exp.data.schema import SCALES
from kan_exp.errors import KanExpError, listing, message_of, suggest
from kan_exp.models.inputs import as_numbers, as_table, column_names
from kan_exp.symbolic.edges import EdgeName, name_edges
from kan_exp.symbolic.expression import Array

if TYPE_CHECKING:
    from torch import Tensor

    from kan_exp.models.model import KANModel

EDGE_POINTS = 1000  # at which edges are looked at
BATCH = 1000  # points that a network sees at a time
HELD_BACK = 10  # one row in so many is kept from the search, from `HELD_BACK ** 2` rows on


@dataclass
class Observations:
    """What a formula is sought for."""

    names: tuple[str, ...]  # of the inputs
    target: str  # name of what the formula describes
    x: Array  # inputs `(n, in)` of the search's rows
    y: Array  # target `(n,)` of these rows
    weight: Array | None = None  # of these rows `(n,)`
    fresh_x: Array | None = None  # rows that the search does not see
    fresh_y: Array | None = None  # their target, if the target is data
    network: Callable[[Array], Array] | None = None  # other inputs at medians
    network_values: Array | None = None  # its predictions at the rows that are compared
    is_data: bool = True  # whether `y` is data, rather than what the network predicts
    notes: list[str] = field(default_factory=list)  # lines about what was left out
    edges: Callable[[float], list[EdgeName]] | None = None  # names edges, in some seconds
    column: str | None = None  # whose unit the target has; None for log-odds
    scale: str = ""  # on which the target is, see `kan_exp.data.schema.SCALES`

    @property
    def compared(self) -> tuple[Array, Array | None]:
        """Inputs and target of the rows at which formula, network and data are compared."""
        if self.fresh_x is not None:
            return self.fresh_x, self.fresh_y
        return self.x, self.y if self.is_data else None


def of_data(
    x: Any,
    y: Any,
    weight: Array | None,
    names: Sequence[str] | None,
    output: int | str | None,
    seed: int,
) -> Observations:
    """Reads X and y; see `kan_exp.explain` for the arguments and errors."""
    own, matrix, left_out = _matrix(x)
    if names is not None:
        if isinstance(names, str) or not all(isinstance(name, str) for name in names):
            raise KanExpError(f"names must be a list of texts, got {names!r}.")
        if len(names) != len(own) or len({*names}) != len(names):
            raise KanExpError(
                f"names must be {len(own)} different names, one for each column of X, got "
                f"{listing(names)}."
            )
        own = list(names)
    target, values = _target(y, output)
    if len(values) != len(matrix):
        raise KanExpError(f"X has {len(matrix):,} rows, but y has {len(values):,}.")
    _check_finite(np.column_stack([matrix, values]))
    _check_weight(weight, len(values))
    train, test = _held_back(len(values), seed)
    return Observations(
        names=tuple(own),
        target=target,
        x=matrix[train],
        y=values[train],
        weight=None if weight is None else weight[train],
        fresh_x=matrix[test] if len(test) else None,
        fresh_y=values[test] if len(test) else None,
        notes=[f"columns without numbers are left out: {listing(left_out)}."] * bool(left_out),
        column=target,
    )


def of_model(
    model: KANModel,
    x: Any,
    y: Any,
    weight: Array | None,
    output: int | str | None,
    seed: int,
) -> Observations:
    """Reads points of a network; see `kan_exp.explain` for the arguments and errors."""
    if x is None:
        raise KanExpError("explain(model, X, y) needs X: points at which the network is looked at.")
    device = model.x_mean.device
    points = model.points_of(x).detach().to(device).double()
    values = None
    if y is not None and not model.classes:
        place = output_of(model, output)
        several = len(model.names) if _is_of_data(model) else 1
        values = _target(y, place if several > 1 else None)[1]
        if len(values) != len(points):
            raise KanExpError(f"X has {len(points):,} rows, but y has {len(values):,}.")
        values = _scaled(values, _target_column(model, place)[1])
    _check_weight(weight, len(points))
    _check_finite(np.column_stack([points.cpu().numpy(), *([] if values is None else [values])]))
    train, test = _held_back(len(points), seed)
    y = None if values is None else values[:, None]
    (observed,) = network_observations(
        model,
        (points[train], None if y is None else y[train]),
        (points[test], None if y is None else y[test]) if len(test) else None,
        None if weight is None else weight[train],
        [output],
    )
    return observed


def network_observations(
    model: KANModel,
    rows: tuple[Tensor, Array | None],
    fresh: tuple[Tensor, Array | None] | None,
    weight: Array | None,
    outputs: Sequence[int | str | None],
) -> list[Observations]:
    """What a formula is sought for each of some outputs, with a network to compare it with.

    Inputs are the columns of numbers; others are left out. The target is on the scale on which the
    network has learned it.

    Args:
        model: The network.
        rows: Features `(n, features)` and targets `(n, len(outputs))` of the search's rows; without
            targets, these are the network's values.
        fresh: The same of rows that the search does not see.
        weight: Of the search's rows.
        outputs: Names or numbers of the network's outputs; None if there is a single one.

    Raises:
        KanExpError: There is no such output, more than two classes, or no column of numbers.
    """
    places, schema = [output_of(model, output) for output in outputs], model.schema
    columns = _number_columns(model)
    if not columns:
        raise KanExpError("explain: the network has no input that is a number.")
    points, y = rows
    notes = []
    others = [one.name for one in schema.inputs]
    if left_out := [name for name in others if name not in {name for _, name, _ in columns}]:
        notes.append(f"the formula has no columns but numbers: without {listing(left_out)}.")
    if not _is_of_data(model):
        y, fresh = None, None if fresh is None else (fresh[0], None)
        if not model.classes:
            notes.append("the formula is of the network's quantile, not of the data.")
    compared = _network_values(model, points if fresh is None else fresh[0])
    is_data = y is not None
    if y is None:
        y = (compared if fresh is None else _network_values(model, points))[:, places]
    middle = points.double().median(0).values

    @cache  # they are those of all outputs
    def edges(seconds: float) -> list[EdgeName]:
        return name_edges(model.views(points[:EDGE_POINTS].to(model.x_mean.device)), seconds)

    found = []
    for number, place in enumerate(places):
        column, scale = _target_column(model, place)
        observed = Observations(
            names=tuple(name for _, name, _ in columns),
            target=_output_name(model, place),
            x=_inputs(points, columns),
            y=y[:, number],
            weight=weight,
            fresh_x=None if fresh is None else _inputs(fresh[0], columns),
            fresh_y=None if fresh is None or fresh[1] is None else fresh[1][:, number],
            network=partial(_along_numbers, model, columns, middle, place),
            network_values=compared[:, place],
            is_data=is_data,
            notes=list(notes),
            edges=edges,
            column=column,
            scale=scale,
        )
        found.append(observed)
    return found


def _network_values(model: KANModel, points: Tensor) -> Array:
    """The network's outputs `(n, out)` on the target's scale; of a classifier, its log-odds."""
    import torch

    from kan_exp.models.model import evaluation_mode

    if model.classes:
        logits = model.predict_outputs(points).double()
        odds = logits[:, -1] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]
        return np.asarray(odds[:, None].cpu().numpy())
    with torch.no_grad(), evaluation_mode(model):
        scaled = torch.cat([model.scaled(part) for part in points.split(BATCH)])
    return np.asarray(scaled.double().cpu())


def _inputs(points: Tensor, columns: Sequence[tuple[int, str, str]]) -> Array:
    """The columns of numbers `(n, in)`, in their own units."""
    parts = [_unscaled(points[:, at].double().cpu().numpy(), scale) for at, _, scale in columns]
    return np.stack(parts, 1)


def _along_numbers(
    model: KANModel, columns: Sequence[tuple[int, str, str]], middle: Tensor, place: int, x: Array
) -> Array:
    """An output `(n,)` at columns of numbers `(n, in)`, the others at their medians."""
    import torch

    full = middle.repeat(len(x), 1)
    for column, (at, _, scale) in zip(x.T, columns, strict=True):
        full[:, at] = torch.from_numpy(_scaled(column, scale))
    return _network_values(model, full)[:, place]


def output_of(model: KANModel, output: int | str | None) -> int:
    """The place of a network's output by its name or number; of a classifier, 0.

    Raises:
        KanExpError: There is no such output, one must be chosen, or there are more than 2 classes.
    """
    if model.classes:
        if len(model.classes) > 2:
            raise KanExpError(
                f"explain takes numbers and two classes, but the network has "
                f"{len(model.classes)} classes."
            )
        return 0
    return _place(model.names, output, "the network")


def _place(names: Sequence[str], output: int | str | None, owner: str) -> int:
    if output is None and len(names) == 1:
        return 0
    known = f"{owner} has the outputs {listing(names)}"
    if output is None:
        raise KanExpError(f"{known}: choose one by output=...")
    if isinstance(output, int | np.integer) and 0 <= output < len(names):
        return int(output)
    if output in names:
        return list(names).index(str(output))
    hint = suggest(output, names) if isinstance(output, str) else ""
    raise KanExpError(f"output={output!r}: {known}.{hint}")


def _is_of_data(model: KANModel) -> bool:
    """Whether each output is a column of the target, rather than a class or a quantile."""
    return not model.classes and [name for name, _ in _target_columns(model)] == list(model.names)


def _target_columns(model: KANModel) -> list[tuple[str, str]]:
    """Name and scale of each column of the target."""
    return [(column.name, column.scale) for column in model.schema.outputs]


def _target_column(model: KANModel, place: int) -> tuple[str | None, str]:
    """Name and scale of the column that an output is of; no column has log-odds."""
    if model.classes:
        return None, ""
    columns = _target_columns(model)
    return columns[place if len(columns) > 1 else 0]


def _output_name(model: KANModel, place: int) -> str:
    if model.classes:
        return f"log-odds of {model.classes[1]}"
    name, (_, scale) = model.names[place], _target_column(model, place)
    return f"{scale}({name})" if scale else name


def _number_columns(model: KANModel) -> list[tuple[int, str, str]]:
    """Place among the features, name and scale of each input that is a number."""
    found, place = [], 0
    for column in model.schema.inputs:
        if column.kind in ("number", "boolean"):
            found.append((place, column.name, column.scale))
        place += len(column.features)
    return found


def _scaled(values: Array, scale: str) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(SCALES[scale][0](values)) if scale else values


def _unscaled(values: Array, scale: str) -> Array:
    return np.asarray(getattr(np, SCALES[scale][1])(values)) if scale else values


def _held_back(rows: int, seed: int) -> tuple[Array, Array]:
    """Numbers of the search's rows, and of those that are kept from it."""
    order = np.random.default_rng(seed).permutation(rows)
    count = rows // HELD_BACK if rows >= HELD_BACK**2 else 0
    return np.sort(order[count:]), np.sort(order[:count])


def _matrix(x: Any) -> tuple[list[str], Array, list[str]]:
    """Names and values of the columns of numbers, and names of the others."""
    x = as_table(x)
    columns = column_names(x)
    if not columns:
        array = _array("X", x)
        array = array[:, None] if array.ndim == 1 else array
        if array.ndim != 2 or not array.shape[1]:
            raise KanExpError(f"X must have the shape (n, in), got {array.shape}.")
        return [f"x{k}" for k in range(array.shape[1])], array, []
    if len({*map(str, columns)}) < len(columns):
        raise KanExpError(f"X has columns of the same name ({listing(map(str, columns))}).")
    parts = {str(name): _column(x[name]) for name in columns}
    known = {name: part for name, part in parts.items() if part is not None}
    left_out = [name for name in parts if name not in known]
    if not known:
        raise KanExpError(f"X has no column of numbers ({listing(left_out)}).")
    return [*known], np.stack([*known.values()], 1), left_out


def _column(values: Any) -> Array | None:
    """A column as float64; None if it has no numbers."""
    plain = np.asarray(values)
    if plain.dtype.kind == "O" and any(isinstance(value, str) for value in plain.flat):
        return None
    try:
        column = as_numbers(values).astype(np.float64)
    except (TypeError, ValueError):
        return None
    return column if column.ndim == 1 and np.isfinite(column).any() else None


def _target(y: Any, output: int | str | None) -> tuple[str, Array]:
    """Name and values of the target."""
    y = as_table(y)
    if columns := column_names(y):
        names = [str(name) for name in columns]
        place = _place(names, output, "y")
        return names[place], vector_of("y", y[columns[place]])
    array = _array("y", y)
    name = getattr(y, "name", None)
    if array.ndim == 2:
        place = _place([f"y{k}" for k in range(array.shape[1])], output, "y")
        return ("y" if array.shape[1] == 1 else f"y{place}"), array[:, place]
    name = name if isinstance(name, str) and name else "y"
    _place([name], output, "y")
    return name, vector_of("y", array)


def vector_of(name: str, values: Any) -> Array:
    """Values `(n,)` as float64."""
    array = _array(name, values)
    if array.ndim != 1:
        raise KanExpError(f"{name} must have the shape (n,), got {array.shape}.")
    return array


def _array(name: str, values: Any) -> Array:
    """Values as float64."""
    try:
        return as_numbers(values).astype(np.float64)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        reason = message_of(error).rstrip(".")
        raise KanExpError(
            f"{name} must be numbers, got {type(values).__name__}: {reason}."
        ) from error


def _check_finite(values: Array) -> None:
    if broken := int((~np.isfinite(values)).any(1).sum()):
        many = "1 row has a gap or" if broken == 1 else f"{broken:,} rows have gaps or"
        raise KanExpError(f"explain: {many} infinite values: leave them out.")


def _check_weight(weight: Array | None, rows: int) -> None:
    if weight is None:
        return
    if len(weight) != rows or not np.isfinite(weight).all() or weight.min() < 0 or not weight.any():
        raise KanExpError(
            f"weight must be {rows:,} numbers of at least 0, one for each row of X, and not all 0."
        )
