"""The network of a configuration, and the module that trains it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kan_exp.config import rank_count, uses_least_squares
from kan_exp.errors import KanExpError
from kan_exp.preparing.devices import training_device
from kan_exp.preparing.layers import layer_specs
from kan_exp.preparing.networks import check_work, stages_of
from kan_exp.preparing.tasks import make_task

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData
    from kan_exp.layers import LayerSpec
    from kan_exp.training.module import KANModule


def make_module(cfg: DictConfig, data: ExperimentData) -> KANModule:
    """The network, or the networks to choose from, and what trains them."""
    import torch

    from kan_exp.layers import make_network
    from kan_exp.models.loading import describe_model
    from kan_exp.models.model import KANModel
    from kan_exp.training.least_squares import LeastSquaresModule
    from kan_exp.training.module import KANModule
    from kan_exp.training.shared import SharedModule
    from kan_exp.training.stages import multiplications
    from kan_exp.training.starts import count_parameters, make_starts

    specs, dims, task = layer_specs(cfg), list(cfg.dims), make_task(cfg)
    description = describe_model(specs, dims, data, task)
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
            task,
            optimizer=optimizer,
            scheduler=instantiate(cfg.scheduler) if cfg.scheduler else None,
            penalty=penalty,
            description=description,
            compile_network=cfg.compile,
        )
    stages = stages_of(cfg, cells_of(specs))
    scaling = data.scaling
    x = scaling.standardize(data.train).x.double()
    bounds = ((data.bounds.double().T - scaling.x_mean) / scaling.x_std).T
    # Options that a layer refuses are told about the layer as the user asked for it.
    make_network(specs, dims, torch.Generator())
    sizes = [count_parameters(specs, dims, stage) for stage in stages]
    check_work(multiplications(sizes, stages, len(x)), len(x))
    starts = make_starts(specs, dims, stages[0], cfg.seed, cfg.refine.init_noise_std, x, bounds)
    return LeastSquaresModule(
        KANModel(starts[0], scaling, data.features, data.target_name),
        task,
        starts,
        stages,
        scaling.standardize(data.val),
        optimizer,
        penalty,
        cfg.refine.penalty_decay,
        description,
    )


def cells_of(specs: Sequence[LayerSpec]) -> list[int | None]:
    """Cells per edge of each layer, `None` for layers without a grid.

    Raises:
        KanExpError: A layer has no such options.
    """
    try:
        return [kind.cells(options) for kind, options in specs]
    except (TypeError, ValueError, KeyError) as error:
        raise KanExpError(f"layer: {error}") from error


def _make_replicas(cfg: DictConfig, data: ExperimentData) -> KANModule:
    """The networks of all seeds as one, after a look at whether they fit."""
    import torch

    from kan_exp.layers import make_network
    from kan_exp.models.loading import describe_model
    from kan_exp.models.model import KANModel
    from kan_exp.training.memory import Sizes, check_memory
    from kan_exp.training.replicas import ReplicaModule

    specs, dims, task = layer_specs(cfg), list(cfg.dims), make_task(cfg)
    penalty: dict[str, float] = OmegaConf.to_container(cfg.penalty, resolve=True)  # type: ignore[assignment]
    scaling = data.scaling

    def make(count: int) -> ReplicaModule:
        seeds = range(cfg.seed, cfg.seed + count)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        networks = [make_network(specs, dims, generator) for generator in generators]
        return ReplicaModule(
            KANModel(networks[0], scaling, data.features, data.target_name),
            task,
            networks,
            cfg.seed,
            optimizer=instantiate(cfg.optimizer),
            scheduler=instantiate(cfg.scheduler) if cfg.scheduler else None,
            penalty=penalty,
            description=describe_model(specs, dims, data, task),
        )

    count = len(data.train.x)
    sizes = Sizes(cfg.log_every_n_steps, min(cfg.batch_size or count, count), count)
    check_memory(make(1), cfg.replicas, sizes, training_device(cfg))
    return make(cfg.replicas)
