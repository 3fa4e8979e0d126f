"""Trains one network: `python -m kan_exp.train`."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf, open_dict

from kan_exp.cli import check_additions, config_folder, run_command, store_schema
from kan_exp.config import TrainConfig, check_numbers, check_width
from kan_exp.errors import KanExpError

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData
    from kan_exp.layers import LayerSpec
    from kan_exp.training.experiment import Experiment
    from kan_exp.training.module import KANModule
    from kan_exp.training.starts import Stage

# Their configs list every option, so that none can be added.
CLOSED_GROUPS = ("layer", "target", "data", "penalty")
# What least squares may take where they are a layer's default: some five minutes on a core.
MULTIPLICATIONS_PER_MINUTE = 4e11
MOST_WORK = 5 * MULTIPLICATIONS_PER_MINUTE


def train(cfg: DictConfig) -> None:
    """Runs one job: checks its configuration, then trains, scores and writes the results."""
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    try:
        _check(cfg, list(hydra.overrides.task), dict(hydra.runtime.choices))
        experiment = _prepare(cfg, folder, dict(hydra.runtime.choices))
    except BaseException:
        if hydra.mode == RunMode.RUN:
            _remove_traces(folder)  # a run that never began leaves nothing to mistake for a result
        raise
    experiment.run()


def prepare(overrides: Sequence[str], folder: str | Path) -> Experiment:
    """Makes the experiment that the command would run, to run it or to look into it from Python.

    Args:
        overrides: What would stand on the command line, such as `["layer=spline", "seed=1"]`.
        folder: Where the run is to write.

    Raises:
        KanExpError: As the command would say.
    """
    store_schema("train_schema", TrainConfig)
    overrides = [*overrides, f"hydra.runtime.output_dir={folder}"]
    with initialize_config_dir(config_folder(), version_base=None):
        cfg = compose("train", overrides=overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        choices = dict(cfg.hydra.runtime.choices)
        with open_dict(cfg):
            del cfg["hydra"]
        try:
            _check(cfg, overrides[:-1], choices)
            return _prepare(cfg, Path(folder), choices)
        except InstantiationException as error:  # Hydra's frame around what we have to say
            if isinstance(error.__cause__, KanExpError):
                raise error.__cause__ from None
            raise


def _check(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> None:
    """Everything that can be told before torch is imported."""
    check_additions(overrides, CLOSED_GROUPS)
    if _uses_least_squares(cfg) and (cfg.scheduler or cfg.batch_size is not None or cfg.compile):
        raise KanExpError(
            "optimizer=lm takes all points at once: it needs scheduler=none, batch_size=null and "
            "compile=false. Set these, or optimizer=adam."
        )
    check_numbers(cfg)
    if _uses_target(cfg):
        target = instantiate(cfg.target)
        check_width(f"target '{choices['target']}'", target.inputs, list(cfg.dims))
        return
    useless = [text for text in overrides if text.lstrip("+~").startswith(("target=", "target."))]
    if useless:
        raise KanExpError(
            f"{useless[0]} has no effect with data={choices['data']}, which brings its own values: "
            f"leave one of the two out."
        )


def _prepare(cfg: DictConfig, folder: Path, choices: dict[str, str]) -> Experiment:
    """Makes everything that the run needs; all that can be wrong with it shows here."""
    import torch

    from kan_exp.training.callbacks import RunCheckpoint, SignalStop
    from kan_exp.training.experiment import Experiment, quiet_lightning
    from kan_exp.training.replica_experiment import ReplicaExperiment

    quiet_lightning()
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    if cfg.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        raise KanExpError(
            "trainer=gpu needs a GPU, and torch finds none: set trainer=cpu or trainer=auto."
        )
    dims = list(cfg.dims)
    data = instantiate(cfg.data)
    check_width(f"data '{choices['data']}'", data.features, dims)
    steps = _steps(cfg)
    module = _make_module(cfg, data)
    generators = [torch.Generator().manual_seed(cfg.seed + k) for k in range(cfg.replicas)]
    data.plan(cfg.batch_size, steps, cfg.log_every_n_steps, cfg.evaluations, *generators)
    # A bad learning rate, or components that are not the formula's, are told before the training.
    module.check_optimizer()
    data.true_edges(data.train.x[:2])
    callbacks = [
        *instantiate(cfg.callbacks).values(),
        RunCheckpoint(folder / "checkpoints"),
        SignalStop(),
    ]
    logger = instantiate(cfg.logger) if cfg.logger else False
    kind = Experiment if cfg.replicas == 1 else ReplicaExperiment
    return kind(
        module=module,
        data=data,
        trainer=instantiate(
            cfg.trainer,
            max_steps=steps,
            max_epochs=-1,  # each pass over the loader is one evaluation's; the steps end the run
            callbacks=callbacks,
            logger=logger,
        ),
        folder=folder,
        choices=_choices(cfg, choices),
        config=OmegaConf.to_yaml(cfg, resolve=True),
    )


def _uses_least_squares(cfg: DictConfig) -> bool:
    return bool(cfg.optimizer._target_ == "kan_exp.optimizers.LevenbergMarquardt")


def _steps(cfg: DictConfig) -> int:
    """How many optimizer steps the run has: `steps`, or those of `refine` if that is null."""
    if cfg.steps is not None:
        return int(cfg.steps)
    if not _uses_least_squares(cfg):
        raise KanExpError("steps is needed: only optimizer=lm takes its steps from refine.")
    return sum(stage.steps for stage in _stages(cfg))


def _stages(cfg: DictConfig) -> list[Stage]:
    from kan_exp.training.starts import make_stages

    refine: dict[str, Any] = OmegaConf.to_container(cfg.refine, resolve=True)  # type: ignore[assignment]
    try:
        lists = (refine[name] for name in ("grids", "keep", "steps", "points"))
        return make_stages(_layer_specs(cfg), *lists)
    except (TypeError, ValueError, KeyError) as error:  # the layer refuses its options itself
        raise KanExpError(f"layer: {error}") from error


def _make_module(cfg: DictConfig, data: ExperimentData) -> KANModule:
    """The network, or the networks to choose from, and what trains them."""
    import torch

    from kan_exp.layers import make_network
    from kan_exp.training.folder import describe_model
    from kan_exp.training.least_squares import LeastSquaresModule
    from kan_exp.training.model import KANModel
    from kan_exp.training.module import KANModule
    from kan_exp.training.starts import make_starts, multiplications

    specs, dims = _layer_specs(cfg), list(cfg.dims)
    description = describe_model(specs, dims, data)
    penalty: dict[str, float] = OmegaConf.to_container(cfg.penalty, resolve=True)  # type: ignore[assignment]
    optimizer = instantiate(cfg.optimizer)
    if cfg.replicas > 1:
        return _make_replicas(cfg, data)
    if not _uses_least_squares(cfg):
        # The weights have a generator of their own: all kinds see the same order of points.
        network = make_network(specs, dims, torch.Generator().manual_seed(cfg.seed))
        return KANModule(
            KANModel(network, data.scaling, data.features, data.target_name),
            optimizer=optimizer,
            scheduler=instantiate(cfg.scheduler) if cfg.scheduler else None,
            penalty=penalty,
            description=description,
            compile_network=cfg.compile,
        )
    stages = _stages(cfg)
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
    asked = any(text.lstrip("+").startswith("optimizer=") for text in hydra.overrides.task)
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

    specs, dims = _layer_specs(cfg), list(cfg.dims)
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
    on_gpu = cfg.trainer.accelerator != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if on_gpu else "cpu")
    check_memory(make(1), cfg.replicas, sizes, device)
    return make(cfg.replicas)


def _layer_specs(cfg: DictConfig) -> list[LayerSpec]:
    """The kind and the options of every layer: those of `layer`, or what `layers` names."""
    from kan_exp.layers import LayerSpec

    if cfg.layers is None:
        return [_layer_spec(cfg.layer)] * (len(cfg.dims) - 1)
    entries: list[Any] = OmegaConf.to_container(cfg.layers, resolve=True)  # type: ignore[assignment]
    specs = []
    for entry in entries:
        name, options = _kind_and_options(entry)
        composed = (
            GlobalHydra.instance()
            .config_loader()
            .load_configuration("train", [f"layer={name}"], RunMode.RUN)
        )
        kind, defaults = _layer_spec(composed.layer)
        specs.append(LayerSpec(kind, {**defaults, **options}))
    return specs


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


def _layer_spec(layer: DictConfig) -> LayerSpec:
    from kan_exp.layers import LayerSpec

    options: dict[str, Any] = OmegaConf.to_container(layer, resolve=True)  # type: ignore[assignment]
    return LayerSpec(get_class(options.pop("_target_")), options)


def _choices(cfg: DictConfig, choices: dict[str, str]) -> dict[str, Any]:
    """What a user chooses, flat: groups, numbers of the run, options of layer and optimizer."""
    groups = ("layer", "target", "data", "optimizer", "scheduler")
    flat: dict[str, Any] = {group: choices[group] for group in groups}
    if not _uses_target(cfg):
        del flat["target"]
    if cfg.layers is not None:
        flat["layer"] = "+".join(
            _kind_and_options(
                OmegaConf.to_container(entry) if OmegaConf.is_config(entry) else entry
            )[0]
            for entry in cfg.layers
        )
    for name in ("seed", "dims", "steps", "batch_size"):
        flat[name] = cfg[name]
    if cfg.replicas > 1:
        flat["replicas"] = cfg.replicas
    for group in ("layer", "optimizer", "penalty"):
        for name, value in cfg[group].items():
            if not name.startswith("_"):
                flat[f"{group}.{name}"] = value
    return flat


def _uses_target(cfg: DictConfig) -> bool:
    """Whether the data are drawn from the target that was chosen."""
    return "target" in cfg.data and OmegaConf.is_interpolation(cfg.data, "target")


def _remove_traces(folder: Path) -> None:
    """Removes what Hydra has written for this run, and folders that are empty without it.

    Nothing else: the folder may be one of the user's own, named by hydra.run.dir.
    """
    traces = [folder / ".hydra" / f"{name}.yaml" for name in ("config", "hydra", "overrides")]
    for path in (*traces, folder / "train.log"):
        path.unlink(missing_ok=True)
    emptied = [folder / ".hydra", folder]
    if folder.parent.parent.name == "outputs":
        emptied += [folder.parent, folder.parent.parent]
    for path in emptied:
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()


if __name__ == "__main__":
    store_schema("train_schema", TrainConfig)
    run_command("train", train)
