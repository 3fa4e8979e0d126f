"""The kind and the options of every layer, as a configuration asks for them."""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from kan_exp.errors import KanExpError, message_of
from kan_exp.quoting import quoted

if TYPE_CHECKING:
    from kan_exp.layers import EdgeLayer, LayerSpec

HYDRAS_OWN = ("hydra", "main", "schema")  # who provides the configurations that are always there


class LayerChoice(NamedTuple):
    """The dotted path of a layer's class, and its options."""

    path: str
    options: dict[str, Any]


def layer_choices(cfg: DictConfig) -> list[LayerChoice]:
    """Those of `layer` for every layer, or what `layers` names.

    Raises:
        KanExpError: `layers` cannot be read.
    """
    if cfg.layers is None:
        return [_layer_choice(cfg.layer)] * (len(cfg.dims) - 1)
    choices = []
    for name, options in _entries(cfg):
        path, defaults = _layer_choice(_composed(cfg, name))
        choices.append(LayerChoice(path, {**defaults, **options}))
    return choices


def layer_specs(cfg: DictConfig) -> list[LayerSpec]:
    """`layer_choices` with the classes, whose modules this imports.

    Raises:
        KanExpError: `layers` cannot be read, or a class cannot be imported or is no layer.
    """
    from kan_exp.layers import LayerSpec

    return [LayerSpec(_layer_class(path), options) for path, options in layer_choices(cfg)]


def _layer_class(path: str) -> type[EdgeLayer]:
    """Imports the class that a configuration names by its dotted path."""
    from kan_exp.layers import find_layer

    module, _, name = path.rpartition(".")
    try:
        getattr(importlib.import_module(module), name, None)  # some modules import their parts late
    except Exception as error:  # a user's module may raise anything
        raise KanExpError(
            f"layer._target_={path}: cannot import {module!r}: {message_of(error)}"
        ) from error
    return find_layer(path)


def search_path_override(hydra: Any = None) -> list[str]:
    """An override that adds the folders of configurations that a user has added to this run.

    Args:
        hydra: Hydra's part of the configuration; that of the running job if not given.
    """
    cfg: Any = hydra or HydraConfig.get()
    sources = OmegaConf.select(cfg, "runtime.config_sources") or []
    added = [source for source in sources if source.provider not in HYDRAS_OWN]
    if not added:
        return []
    paths = [quoted(f"{source.schema}://{source.path}") for source in added]
    return [f"hydra.searchpath=[{','.join(paths)}]"]


def spelled_out(cfg: DictConfig) -> DictConfig:
    """The configuration with all options of every entry of `layers`.

    A run's folder has to say by itself what the layers were, whatever the defaults will be.
    """
    cfg = cfg.copy()
    cfg.layers = all_options(cfg)
    return cfg


def all_options(cfg: DictConfig) -> list[dict[str, dict[str, Any]]]:
    """The entries of `layers` with all their options, resolved as options of this run.

    Raises:
        KanExpError: `layers` cannot be read.
    """
    entries = []
    for name, options in _entries(cfg):
        defaults: dict[str, Any] = OmegaConf.to_container(_composed(cfg, name), resolve=True)  # type: ignore[assignment]
        del defaults["_target_"]
        entries.append({name: {**defaults, **options}})
    return entries


def _entries(cfg: DictConfig) -> list[tuple[str, dict[str, Any]]]:
    entries: list[Any] = OmegaConf.to_container(cfg.layers, resolve=True)  # type: ignore[assignment]
    return [kind_and_options(entry) for entry in entries]


def _composed(cfg: DictConfig, name: str) -> DictConfig:
    """A kind's own config, in which references are to the options of this run."""
    whole = cfg.copy()
    with open_dict(whole):
        whole.layer = _as_written(name, tuple(search_path_override()))
    return whole.layer


@functools.lru_cache(64)
def _as_written(name: str, search_path: tuple[str, ...]) -> Any:
    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_configuration("train", [f"layer={name}", *search_path], RunMode.RUN)
    return OmegaConf.to_container(composed.layer, resolve=False)


def kind_and_options(entry: Any) -> tuple[str, dict[str, Any]]:
    """Reads an entry of `layers`: `mlp`, or `{mlp: {fcn_hidden: 8}}`.

    Raises:
        KanExpError: It is neither.
    """
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        ((name, options),) = entry.items()
        if isinstance(options, dict):
            return str(name), options
    raise KanExpError(
        f"layers: {entry!r} is neither a kind nor one with its options: write "
        f"layers=[spline,mlp] or layers=[spline,{{mlp:{{fcn_hidden:8}}}}]."
    )


def _layer_choice(layer: DictConfig) -> LayerChoice:
    options: dict[str, Any] = OmegaConf.to_container(layer, resolve=True)  # type: ignore[assignment]
    return LayerChoice(str(options.pop("_target_")), options)
