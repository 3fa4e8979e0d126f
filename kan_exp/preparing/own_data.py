"""The data of a finished run, made again from its stored configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf

from kan_exp.config import TABLE, to_component
from kan_exp.data.options import Options
from kan_exp.data.schema import Schema
from kan_exp.errors import KanExpError
from kan_exp.preparing.components import make_data
from kan_exp.preparing.sources import SKLEARN
from kan_exp.preparing.targets import check_targets
from kan_exp.quoting import expand_home

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData

OPTIONS = Options(features=None)


def own_data(
    run: Path,
    moved: Mapping[str, str],
    description: Mapping[str, Any],
    modules: Sequence[str],
    instead: str,
) -> ExperimentData:
    """Makes the data of a run again.

    Args:
        run: Its folder.
        moved: `path`, the new location of its table, if that has moved.
        description: Of its network, from the checkpoint.
        modules: That its configuration may name classes of.
        instead: What the user can do if they cannot be made, for messages.
    """
    values = {**stored_group(run, "data", modules, instead), **moved}
    is_table = values.get("_target_") == TABLE
    if moved and not is_table:
        raise KanExpError(f"data.path: {run} has no table of its own: leave it out.")
    more: dict[str, Any] = {"options": OPTIONS} if is_table else {}
    if values.get("_target_") in (TABLE, SKLEARN):
        more["classes"] = bool(Schema.restore(description).classes)
    try:
        return make_data(to_component(values), **more)
    except KanExpError as error:
        raise KanExpError(f"{run}: its data cannot be made again: {error}") from error


def check_unchanged(
    run: str | Path, data: ExperimentData, description: Mapping[str, Any], instead: str
) -> None:
    """Refuses data that are not those of the run; arguments as those of `own_data`."""
    if data.fingerprint != description.get("test_points"):
        raise KanExpError(
            f"{run}: its data have changed since, so that its test points are not known: {instead}"
        )


def stored_group(run: Path, group: str, modules: Sequence[str], instead: str) -> dict[str, Any]:
    """A group of a run's configuration, which must not be able to call whatever it names."""
    path = expand_home(run) / ".hydra" / "config.yaml"
    if not path.is_file():
        raise KanExpError(f"{path} is not there: {instead}")
    whole = cast("DictConfig", OmegaConf.load(path))
    values = cast("dict[str, Any]", OmegaConf.to_container(whole[group], resolve=True))
    try:
        check_targets({group: values}, modules)
    except KanExpError as error:
        raise KanExpError(f"{run}: {error} Or {instead}") from error
    return values
