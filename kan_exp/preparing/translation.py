"""Translates configurations that Hydra has composed into plain dataclasses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kan_exp.cli import as_typed, hydra_config, store_schema
from kan_exp.commandline.renamed import rename_in_files, renamed_options
from kan_exp.config import (
    EQUATION,
    GROUPS,
    LEAST_SQUARES,
    OPTIONAL_GROUPS,
    SAMPLED,
    TABLE,
    Component,
    RunConfig,
    RunContext,
    TrainConfig,
    config_folder,
    to_component,
    to_values,
)
from kan_exp.errors import KanExpError
from kan_exp.preparing.checks import check_equation, check_full_batch, check_replicas
from kan_exp.preparing.components import make, make_task
from kan_exp.preparing.forked import call_in_fork
from kan_exp.preparing.keys import check_shared, follows_seed
from kan_exp.preparing.paths import found_from
from kan_exp.preparing.references import check_additions, check_references
from kan_exp.preparing.sources import SKLEARN
from kan_exp.preparing.tasks import AUTO, recognize_task
from kan_exp.preparing.values import plain_values, resolved, search_path_override, without_targets
from kan_exp.preparing.widths import are_known, resolve_widths
from kan_exp.quoting import quoted
from kan_exp.runs.identity import group_name
from kan_exp.tasks import Task


def translate(cfg: DictConfig, hydra: DictConfig) -> tuple[RunConfig, RunContext]:
    """Resolves a composed configuration, given without Hydra's part and that part.

    Raises:
        KanExpError: An option is unknown or missing, or does not go with another.
        OmegaConfBaseException: A reference cannot be resolved.
    """
    overrides, choices = as_typed(hydra.overrides.task), dict(hydra.runtime.choices)
    check_groups(cfg)
    check_additions(cfg, hydra, overrides, list(choices))
    if cfg.optimizer._target_ == LEAST_SQUARES:  # which lacks options that schedulers refer to
        check_full_batch(cfg.scheduler, cfg.batch_size, cfg.compile)
    check_references(cfg, hydra)
    values = plain_values(cfg, strict=True)
    # The check of a table lists its columns.
    table = {"data.path", "data.target"} if cfg.data.get("_target_") == TABLE else set()
    for name in sorted(OmegaConf.missing_keys(cfg) - table):
        raise KanExpError(f"{name} is needed: set it with {name}=...")
    config = _run_config(values)
    check_shared(cfg)
    for text in overrides:
        if group_name(text) == "target" and not _uses_target(cfg):
            raise KanExpError(
                f"{text} has no effect with data={choices['data']}, which brings its own values: "
                f"leave one of the two out."
            )
    if values["pde"] is not None and config.data.target != EQUATION:
        raise KanExpError(
            f"pde={choices.get('pde')} has no effect with data={choices['data']}: leave one of the "
            f"two out. A file in pde/ begins with '# @package _global_' and has 'override /data: "
            f"equation' in its defaults."
        )
    if values["layers"] is not None:
        choices["layer"] = "+".join(kind for layer in values["layers"] for kind in layer)
        if unused := next((text for text in overrides if group_name(text) == "layer"), None):
            products = " multiply=null" if cfg.multiply else ""
            raise KanExpError(
                f"{unused} has no effect, since layers names a kind for each layer "
                f"({choices['layer']}): leave it out, or set layers=null{products}"
            )
    draws = "num_train" in cfg.data and OmegaConf.is_interpolation(cfg.data, "num_train")
    found = found_from(hydra.runtime.cwd, overrides, cfg)
    context = RunContext(
        overrides=overrides,
        choices=choices,
        job=int(hydra.job.num) if hydra.mode == RunMode.MULTIRUN else None,
        # Of a sweep over a stored run, the rest is in that run's folder.
        arguments=None if cfg.sweep.origin else [*search_path_override(hydra), *found],
        follows_seed=follows_seed(cfg),
        points_option="points" if draws else "data.num_train",
        gradient=values["gradient"],
        wide=values["wide"],
    )
    return config, context


def run_config(overrides: Sequence[str], folder: str | Path) -> RunConfig:
    """The configuration of the run that the command would begin, to be changed in Python.

    It includes what a config sets in other groups, such as the stages of `layer=spline`.

    Args:
        overrides: As on the command line, such as `["layer=spline", "seed=1"]`.
        folder: Where the run is to write.

    Raises:
        KanExpError, OmegaConfBaseException: As `translate`.
        HydraException: An override cannot be read, or there is no such config.
    """
    with composed(overrides, folder) as (cfg, hydra):
        return translate(cfg, hydra)[0]


def _run_config(values: dict[str, Any]) -> RunConfig:
    layers = values["layer"]
    if values["layers"] is not None:
        layers = [layer for entry in values["layers"] for layer in entry.values()]
    optional = {name: values[name] or None for name in OPTIONAL_GROUPS}
    callbacks = values["callbacks"] or {}
    return RunConfig.from_values({**values, **optional, "callbacks": callbacks, "layers": layers})


def is_stackable(cfg: DictConfig) -> bool:
    """Whether runs that differ in the seed alone can be trained as one network."""
    probe = cfg.copy()
    with open_dict(probe):  # what is known only once the job runs
        probe.replicas, probe.logger, probe.callbacks = 2, None, {}
    try:
        config = _run_config(plain_values(probe, strict=True))
        check_replicas(config)
        check_equation(config)
        check_shared(probe)
    except (KanExpError, OmegaConfBaseException):
        return False
    return True


def composed_task(cfg: DictConfig) -> Task:
    """The task of a composed configuration; where the target decides it, that is read."""
    task = to_component(OmegaConf.to_container(cfg.task, resolve=True))
    if task.target == AUTO and cfg.data.get("_target_") not in (TABLE, SKLEARN, EQUATION):
        task = recognize_task(task, Component(""))  # other options may be known to the jobs alone
    elif task.target == AUTO:
        data = to_component(resolved(cfg, "data"))
        task = call_in_fork(lambda: recognize_task(task, data))
    return make_task(task)


def composed_widths(cfg: DictConfig) -> list[int]:
    """The widths of a composed configuration; none if they are not known before it runs."""
    if are_known(cfg.dims):
        return list(cfg.dims)
    if cfg.data.get("_target_") != SAMPLED:
        return []
    try:
        target = make("target", to_component(resolved(cfg, "target")))
    except (KanExpError, OmegaConfBaseException):  # which the job reports
        return []
    config = RunConfig(dims=None if cfg.dims is None else list(cfg.dims))
    resolve_widths(config, len(target.inputs), 1)
    return config.widths


def explicit_config(cfg: DictConfig, task: Component) -> DictConfig:
    """The configuration with its task, and with all options of every entry of `layers`.

    A run's folder has to say by itself what these were, whatever the defaults will be.
    """
    cfg = cfg.copy()
    cfg.layers = without_targets(resolved(cfg, "layers"))
    with open_dict(cfg):
        cfg.task = to_values(task)
    return cfg


@contextmanager
def composed(
    overrides: Sequence[str], folder: str | Path, name: str = "train"
) -> Iterator[tuple[DictConfig, DictConfig]]:
    """Composes a configuration without a command; gives it and Hydra's part of it.

    The overrides are those of a command line; `name` is the primary config.
    """
    store_schema("train_schema", TrainConfig)
    rename_in_files()
    place = f"hydra.runtime.output_dir={quoted(str(folder))}"
    with initialize_config_dir(config_folder(), version_base=None):
        cfg = compose(name, [*renamed_options(overrides), place], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            del cfg["hydra"]
        yield cfg, hydra_config()


def check_groups(cfg: DictConfig) -> None:
    """Refuses a configuration from which a group was removed, or its `_target_`."""
    for group in GROUPS:
        if OmegaConf.select(cfg, group):
            _check_target(cfg, group)
        elif group not in OPTIONAL_GROUPS and (group != "target" or _uses_target(cfg)):
            raise KanExpError(f"{group} is needed: choose one by {group}=..., without ~{group}.")
    for name, callback in (cfg.callbacks or {}).items():
        if callback is not None:
            _check_target(cfg, f"callbacks.{name}")


def _check_target(cfg: DictConfig, path: str) -> None:
    value = OmegaConf.select(cfg, path)
    if not isinstance(value, DictConfig):
        raise KanExpError(f"{path} must be a config with options, got {value!r}.")
    if not isinstance(OmegaConf.to_container(value).get("_target_"), str):  # type: ignore[union-attr]
        raise KanExpError(f"{path}._target_ is needed: it names what {path} makes.")


def _uses_target(cfg: DictConfig) -> bool:
    """Whether the data are drawn from the chosen target."""
    if "target" not in cfg.data or not OmegaConf.is_interpolation(cfg.data, "target"):
        return False
    target = cfg.data.target
    return target is None or OmegaConf.is_dict(target)  # not of a table, whose target is a name
