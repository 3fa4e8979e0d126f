"""Trained networks in checkpoints: their description, and how they are loaded again."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import Tensor, nn

from kan_exp.data.points import Scaling
from kan_exp.data.schema import Schema
from kan_exp.equations.frame import Frame
from kan_exp.errors import KanExpError, message_of
from kan_exp.layers import LayerSpec, find_layer, layer_path, make_network
from kan_exp.models.model import KANModel
from kan_exp.runs.folders import find_checkpoint
from kan_exp.tasks import Task

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData

M = TypeVar("M", bound=KANModel)


def describe_model(
    specs: Sequence[LayerSpec], dims: Sequence[int], data: ExperimentData, task: Task
) -> dict[str, Any]:
    """Describes a model in plain containers, from which `load` makes it again.

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
        "outputs": list(task.output_names(data.schema)),
        "scoring": task.describe(),
        "test_points": data.fingerprint,
        "bounds": data.bounds.double().tolist(),
    }


def read_checkpoint(folder: str | Path) -> dict[str, Any]:
    """Reads the best checkpoint of a run, or the last where none was validated.

    Args:
        folder: `outputs/<date>/<run>`.

    Raises:
        KanExpError: The folder, or a checkpoint in it, is missing or cannot be read.
    """
    return read_checkpoint_file(find_checkpoint(folder))


def read_checkpoint_file(path: Path) -> dict[str, Any]:
    """Reads a checkpoint, which cannot run code.

    Raises:
        KanExpError: It is missing, damaged or of another program.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles of another kind
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if not _is_sound(checkpoint["kan_exp"], checkpoint["state_dict"]):
            raise ValueError("it describes no network")
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if isinstance(error, pickle.UnpicklingError):  # torch's advice is to load it all the same
            reason = "it is damaged, or holds more than numbers and plain containers"
        raise KanExpError(f"{path}: not a checkpoint of kan_exp ({reason}).") from error
    return cast("dict[str, Any]", checkpoint)


def _is_sound(description: Mapping[str, Any], weights: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has what `load` needs; raises an exception if a part is missing."""
    Schema.restore(description)
    return all(
        (
            all(isinstance(description[name], list) for name in ("layers", "dims")),
            all(type(width) is int for width in description["dims"]),
            all(isinstance(layer["kind"], str) for layer in description["layers"]),
            all(isinstance(layer["options"], dict) for layer in description["layers"]),
            all(isinstance(part, Tensor) and not part.is_complex() for part in weights.values()),
            all(weights[f"model.{name}"].is_floating_point() for name in Scaling._fields),
        )
    )


def load_from(folder: str | Path, make: Callable[[dict[str, Any]], M]) -> M:
    """The model that `make` makes of a run's best checkpoint; errors name the folder.

    Raises:
        KanExpError: There is no readable checkpoint, or `make` refuses it.
    """
    checkpoint = read_checkpoint(folder)
    try:
        return make(checkpoint)
    except KanExpError as error:
        raise KanExpError(f"{folder}: {error}") from error


def model_from(
    checkpoint: Mapping[str, Any], replica: int | None = None, kind: type[KANModel] = KANModel
) -> KANModel:
    """The network of a checkpoint in memory, as a model of this kind: on the CPU and frozen.

    Raises:
        KanExpError: The weights do not fit the layers, or there is no such replica.
    """
    description = checkpoint["kan_exp"]
    weights = {
        name.removeprefix("model."): part
        for name, part in checkpoint["state_dict"].items()
        if name.startswith("model.")
    }
    if replica is not None:
        weights.update(_replica_weights(checkpoint, replica))
    scaling = Scaling(*(weights[name] for name in Scaling._fields))
    try:
        network = network_of(description)
        network.to(
            next(part.dtype for name, part in weights.items() if name.startswith("network."))
        )
        model = kind(
            network,
            scaling,
            Schema.restore(description),
            description.get("activation", "identity"),
            description.get("outputs", ()),
            description.get("smearing", ()),
            Frame(**description["frame"]) if description.get("frame") else None,
        )
        model.load_state_dict(weights)
        model.description = dict(description)
        if replica is None:  # those of another replica
            model.residuals = checkpoint.get("residuals")
    except (RuntimeError, TypeError, StopIteration) as error:  # also of sizes beyond memory
        raise KanExpError(f"the checkpoint does not fit its layer: {message_of(error)}") from error
    return model.eval().requires_grad_(False)


def network_of(description: Mapping[str, Any]) -> nn.Sequential:
    """Makes a network of the kinds and sizes in a description, with weights of a random start.

    Raises:
        KanExpError: A layer is unknown.
    """
    layers = description["layers"]
    specs = [LayerSpec(find_layer(layer["kind"]), layer["options"]) for layer in layers]
    # Of its own generator: the weights are replaced, and that of the process stays as it is.
    return make_network(specs, description["dims"], torch.Generator())


def _replica_weights(checkpoint: Mapping[str, Any], replica: int) -> dict[str, Tensor]:
    """The weights of one replica, named as those of a model."""
    stacked = checkpoint.get("replicas")
    if stacked is None:
        raise KanExpError("the run has one network, no replicas: leave replica out.")
    count = len(stacked["seeds"])
    if not 0 <= replica < count:
        raise KanExpError(f"the run has replicas 0 to {count - 1}, got {replica}.")
    return {f"network.{name}": part[replica] for name, part in stacked["best"].items()}
