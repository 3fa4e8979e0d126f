"""How a trained network comes back from the folder of its run."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError, message_of
from kan_exp.layers import LayerSpec, find_layer, layer_path, make_network
from kan_exp.models.model import KANModel
from kan_exp.runs.folders import CHECKPOINTS, find_checkpoint
from kan_exp.tasks import Task

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData


def describe_model(
    specs: Sequence[LayerSpec], dims: Sequence[int], data: ExperimentData, task: Task
) -> dict[str, Any]:
    """Plain containers from which `load` makes the same model, its numbers aside.

    Args:
        specs: One for each layer.
        dims: Widths from the input to the output.
        data: What it is trained on.
        task: What is minimized and measured.
    """
    return {
        "layers": [{"kind": layer_path(kind), "options": dict(options)} for kind, options in specs],
        "dims": list(dims),
        "schema": data.schema.describe(),
        "activation": task.activation,
        "scoring": task.describe(),
        "test_points": data.fingerprint,
        "bounds": data.bounds.double().tolist(),
    }


def read_checkpoint(folder: str | Path, names: Sequence[str] = CHECKPOINTS) -> dict[str, Any]:
    """Reads the best checkpoint of a run, or the last where none was validated.

    Args:
        folder: `outputs/<date>/<run>`.
        names: Files to look for, in this order.

    Raises:
        KanExpError: The folder, or a checkpoint in it, is missing or cannot be read.
    """
    return read_file(find_checkpoint(folder, names))


def read_file(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, which cannot run code.

    Raises:
        KanExpError: It is missing, damaged or not ours.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles of another kind
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        _check_content(checkpoint)
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's advice is to load it all the same
            reason = "it is damaged, or holds more than numbers and plain containers"
        raise KanExpError(f"{path}: not a checkpoint of kan_exp ({reason}).") from error
    return cast("dict[str, Any]", checkpoint)


def _check_content(checkpoint: Any) -> None:
    """Checks that a checkpoint has what `load` takes from it.

    Raises:
        Exception: It does not.
    """
    description, weights = checkpoint["kan_exp"], checkpoint["state_dict"]
    Schema.restore(description)
    sound = (
        all(isinstance(description[name], list) for name in ("layers", "dims")),
        all(type(width) is int for width in description["dims"]),
        all(isinstance(one["kind"], str) for one in description["layers"]),
        all(isinstance(one["options"], dict) for one in description["layers"]),
        all(isinstance(one, torch.Tensor) for one in weights.values()),
        all(weights[f"model.{name}"].is_floating_point() for name in Scaling._fields),
        not any(one.is_complex() for one in weights.values()),
    )
    if not all(sound):
        raise ValueError("it describes no network")


def load(folder: str | Path, replica: int | None = None) -> KANModel:
    """Brings a trained network back from the folder of its run.

    Args:
        folder: `outputs/<date>/<run>`, as the training printed it.
        replica: Of a run with `replicas=N`, which of them, from 0; the best on validation if not
            given. Each comes as it was when it was best on validation.

    Returns:
        The model on the CPU, in evaluation mode and frozen: `model(x)` takes and gives the user's
        own units, with a gradient where `x` has one; `model.network` is the plain `nn.Sequential`.
        `model.requires_grad_()` makes its parameters trainable again.

    Raises:
        KanExpError: There is no readable checkpoint, its layer is unknown, or there is no such
            replica.
    """
    checkpoint = read_checkpoint(folder)
    try:
        return model_from(checkpoint, replica)
    except KanExpError as error:
        raise KanExpError(f"{folder}: {error}") from error


def model_from(checkpoint: Mapping[str, Any], replica: int | None = None) -> KANModel:
    """The network of a checkpoint in memory; see `load`.

    Raises:
        KanExpError: The weights do not fit the layers, or there is no such replica.
    """
    description = checkpoint["kan_exp"]
    weights = {n: w for n, w in checkpoint["state_dict"].items() if n.startswith("model.")}
    if replica is not None:
        weights.update(_replica_weights(checkpoint, replica))
    scaling = Scaling(*(weights[f"model.{name}"] for name in Scaling._fields))
    try:
        network = network_of(description)
        network.to(
            weights[next(name for name in weights if name.startswith("model.network."))].dtype
        )
        schema = Schema.restore(description)
        activation = description.get("activation", "identity")
        model = KANModel(network, scaling, schema.features, schema.target_name, activation)
        model.load_state_dict({name.removeprefix("model."): w for name, w in weights.items()})
    except (RuntimeError, TypeError, StopIteration) as error:  # also of sizes beyond memory
        raise KanExpError(f"the checkpoint does not fit its layer: {message_of(error)}") from error
    return model.eval().requires_grad_(False)


def network_of(description: Mapping[str, Any]) -> nn.Sequential:
    """A network of the kinds and sizes that `describe_model` has told, its weights aside.

    Raises:
        KanExpError: A layer is unknown.
    """
    specs = [LayerSpec(find_layer(one["kind"]), one["options"]) for one in description["layers"]]
    return make_network(specs, description["dims"])


def _replica_weights(checkpoint: Mapping[str, Any], replica: int) -> dict[str, Any]:
    """The weights of one replica, named as in a model's own checkpoint."""
    stacked = checkpoint.get("replicas")
    if stacked is None:
        raise KanExpError("the run has one network, no replicas: leave replica out.")
    count = len(stacked["seeds"])
    if not 0 <= replica < count:
        raise KanExpError(f"the run has replicas 0 to {count - 1}, got {replica}.")
    return {f"model.network.{name}": part[replica] for name, part in stacked["best"].items()}
