"""The network of a configuration, and the module that trains it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import as_typed
from kan_exp.config import rank_count
from kan_exp.errors import KanExpError
from kan_exp.preparing.checks import uses_least_squares
from kan_exp.preparing.devices import training_device
from kan_exp.preparing.layers import layer_specs

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData
    from kan_exp.training.module import KANModule
    from kan_exp.training.starts import Stage

# What least squares may take where they are a layer's default: some five minutes on a core.
MULTIPLICATIONS_PER_MINUTE = 4e11
MOST_WORK = 5 * MULTIPLICATIONS_PER_MINUTE


def make_module(cfg: DictConfig, data: ExperimentData) -> KANModule:
    """The network, or the networks to choose from, and what trains them."""
    import torch

    from kan_exp.layers import make_network
    from kan_exp.training.folder import describe_model
    from kan_exp.training.least_squares import LeastSquaresModule
    from kan_exp.training.model import KANModel
    from kan_exp.training.module import KANModule
    from kan_exp.training.shared import SharedModule
    from kan_exp.training.starts import make_starts, multiplications

    specs, dims = layer_specs(cfg), list(cfg.dims)
    description = describe_model(specs, dims, data)
    penalty: dict[str, float] = OmegaConf.to_container(cfg.penalty, resolve=True)  # type: ignore[assignment]
    optimizer = instantiate(cfg.optimizer)
    if cfg.replicas > 1:
        return _make_replicas(cfg, data)
    if not uses_least_squares(cfg):
        # The weights have a generator of their own: all kinds see the same order of points.
        network = make_network(specs, dims, torch.Generator().manual_seed(cfg.seed))
        count = rank_count(cfg)
        kind = KANModule if count == 1 else partial(SharedModule, count=count)
        return kind(
            KANModel(network, data.scaling, data.features, data.target_name),
            optimizer=optimizer,
            scheduler=instantiate(cfg.scheduler) if cfg.scheduler else None,
            penalty=penalty,
            description=description,
            compile_network=cfg.compile,
        )
    stages = stages_of(cfg)
    scaling = data.scaling
    x = scaling.standardise(data.train).x.double()
    bounds = ((data.bounds.double().T - scaling.x_mean) / scaling.x_std).T
    # Options that a layer refuses are told about the layer as the user asked for it.
    make_network(specs, dims, torch.Generator())
    _check_work(multiplications(specs, dims, stages, len(x)), len(x))
    starts = make_starts(specs, dims, stages[0], cfg.seed, cfg.refine.wiggle, x, bounds)
    return LeastSquaresModule(
        KANModel(starts[0], scaling, data.features, data.target_name),
        starts,
        stages,
        scaling.standardise(data.val),
        optimizer,
        penalty,
        cfg.refine.fade,
        description,
    )


def _check_work(multiplications: float, points: int) -> None:
    """Refuses a training that would take long if it is a default and nobody asked for it."""
    hydra = HydraConfig.get()
    asked = any(
        text.lstrip("+").startswith("optimizer=") for text in as_typed(hydra.overrides.task)
    )
    if asked or hydra.runtime.choices.get("experiment") is not None:
        return
    if multiplications > MOST_WORK:
        minutes = multiplications / MULTIPLICATIONS_PER_MINUTE
        raise KanExpError(
            f"{points:,} points are many for least squares on this network (about {minutes:,.0f} "
            f"minutes): set optimizer=adam, or optimizer=lm to take the time."
        )


def _make_replicas(cfg: DictConfig, data: ExperimentData) -> KANModule:
    """The networks of all seeds as one, after a look at whether they fit."""
    import torch

    from kan_exp.layers import make_network
    from kan_exp.training.folder import describe_model
    from kan_exp.training.memory import Sizes, check_memory
    from kan_exp.training.model import KANModel
    from kan_exp.training.replicas import ReplicaModule

    specs, dims = layer_specs(cfg), list(cfg.dims)
    penalty: dict[str, float] = OmegaConf.to_container(cfg.penalty, resolve=True)  # type: ignore[assignment]
    scaling = data.scaling

    def make(count: int) -> ReplicaModule:
        seeds = range(cfg.seed, cfg.seed + count)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        networks = [make_network(specs, dims, generator) for generator in generators]
        return ReplicaModule(
            KANModel(networks[0], scaling, data.features, data.target_name),
            networks,
            cfg.seed,
            optimizer=instantiate(cfg.optimizer),
            scheduler=instantiate(cfg.scheduler) if cfg.scheduler else None,
            penalty=penalty,
            description=describe_model(specs, dims, data),
        )

    count = len(data.train.x)
    sizes = Sizes(cfg.log_every_n_steps, min(cfg.batch_size or count, count), count)
    check_memory(make(1), cfg.replicas, sizes, training_device(cfg))
    return make(cfg.replicas)


def stages_of(cfg: DictConfig) -> list[Stage]:
    """What least squares do, stage by stage.

    Raises:
        KanExpError: `refine` or an option of the layer is out of range.
    """
    from kan_exp.training.starts import make_stages

    refine: dict[str, Any] = OmegaConf.to_container(cfg.refine, resolve=True)  # type: ignore[assignment]
    try:
        lists = (refine[name] for name in ("grids", "keep", "steps", "points"))
        return make_stages(layer_specs(cfg), *lists)
    except (TypeError, ValueError, KeyError) as error:  # the layer refuses its options itself
        raise KanExpError(f"layer: {error}") from error
