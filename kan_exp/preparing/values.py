"""The options of a composed configuration in plain containers, references resolved."""

from __future__ import annotations

import functools
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from kan_exp.cli import hydra_config
from kan_exp.errors import KanExpError
from kan_exp.quoting import quoted

HYDRAS_OWN = ("hydra", "main", "schema")  # who provides the configurations that are always there


def plain_values(cfg: DictConfig, strict: bool = False) -> dict[str, Any]:
    """All options by name, of a composed configuration without Hydra's part.

    Those that cannot be resolved stay as they are written. If `strict`, only those without a value.
    """
    values = {}
    for name in map(str, cfg):
        try:
            values[name] = resolved(cfg, name)
        except OmegaConfBaseException as error:
            if strict and not isinstance(error, MissingMandatoryValue):
                raise
            values[name] = unresolved(cfg)[name]
    return values


def resolved(cfg: DictConfig, name: str) -> Any:
    """An option in plain containers."""
    value = cfg[name]
    if name == "layers" and value is not None:
        return _layers(cfg)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def unresolved(cfg: DictConfig) -> dict[str, Any]:
    """All options in plain containers, references unresolved."""
    return OmegaConf.to_container(cfg, resolve=False)  # type: ignore[return-value]


def _layers(cfg: DictConfig) -> list[dict[str, dict[str, Any]]]:
    """The entries of `layers`, each with all options of its kind and its `_target_`."""
    layers = []
    for entry in OmegaConf.to_container(cfg.layers, resolve=True):  # type: ignore[union-attr]
        name, options = _kind_and_options(entry)
        whole = cfg.copy()  # references in the kind's config are to the options of this run
        with open_dict(whole):
            whole.layer = _kind_config(name, tuple(search_path_override(hydra_config())))
        layers.append({name: {**resolved(whole, "layer"), **options}})
    return layers


def without_targets(layers: Any) -> Any:
    """The entries of `layers` as a user would write them, if there are any."""
    if not isinstance(layers, list):
        return layers
    return [
        {kind: {name: value for name, value in options.items() if name != "_target_"}}
        for layer in layers
        for kind, options in layer.items()
    ]


def _kind_and_options(entry: Any) -> tuple[str, dict[str, Any]]:
    """Reads an entry of `layers`: `mlp`, or `{mlp: {fcn_hidden: 8}}`."""
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


@functools.lru_cache(64)
def _kind_config(name: str, search_path: tuple[str, ...]) -> Any:
    loader = GlobalHydra.instance().config_loader()
    composed = loader.load_configuration("train", [f"layer={name}", *search_path], RunMode.RUN)
    return OmegaConf.to_container(composed.layer, resolve=False)


def search_path_override(hydra: Any) -> list[str]:
    """An override that adds the folders of configs that a user has added to this run."""
    sources = OmegaConf.select(hydra, "runtime.config_sources") or []
    added = [source for source in sources if source.provider not in HYDRAS_OWN]
    paths = [quoted(f"{source.schema}://{source.path}") for source in added]
    return [f"hydra.searchpath=[{','.join(paths)}]"] if paths else []
