"""Digests of resolved configurations, by which equal runs are recognised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kan_exp.errors import KanExpError
from kan_exp.preparing.layers import all_options
from kan_exp.preparing.sources import TABLE
from kan_exp.runs.files import content_or_path
from kan_exp.runs.identity import NON_RESULT_OPTIONS, SEED_OPTIONS, digest

# A setting is resolved for each of these: options whose values differ follow the seed.
PROBED_SEEDS = (0, 1, 123_457)
MAX_PROBED = 64  # seeds of a stack: to resolve a configuration takes milliseconds


def run_key(cfg: DictConfig) -> str:
    """A digest of all options that affect the result, by which a repeated job is recognised.

    A table counts by its content, wherever it lies.
    """
    values = {str(name): _value(cfg, str(name)) for name in cfg}
    data = values.get("data")
    if isinstance(data, dict) and data.get("_target_") == TABLE:
        values["data"] = {**data, "path": content_or_path(data.get("path"))}
    return digest(values)


def setting_key(cfg: DictConfig) -> str:
    """A digest of a run's setting: the same for all its seeds, stacked or trained one by one.

    An option that follows the seed, as by `data.seed=${seed}`, belongs to the setting as such. Its
    values do not tell runs apart, and a setting in which it is fixed is another one.
    """
    setting = cfg.copy()
    setting.replicas = 1
    found = []
    for seed in PROBED_SEEDS:
        setting.seed = seed
        found.append(run_key(setting))
    return digest({"probed": found})


def rest_key(cfg: DictConfig) -> str | None:
    """A digest of everything but the seed, which jobs must share to be trained as one.

    Options that decide no result are included, since the stacked jobs share them, too.

    Returns:
        None if an option is only known once the job runs, and may then depend on the job.
    """
    rest = [name for name in map(str, cfg) if name not in (*SEED_OPTIONS, "sweep")]
    values = {}
    for name in rest:
        try:
            values[name] = _resolved(cfg, name)
        except OmegaConfBaseException:
            values[name] = _as_written(cfg, name)
            if name not in NON_RESULT_OPTIONS or "seed" in str(values[name]):
                return None
    return digest({"rest": values})


def asks_hydra(cfg: DictConfig) -> bool:
    """Whether an option that decides the result refers to Hydra's own configuration."""
    return any("${" in text and "hydra" in text for text in deciding_texts(cfg))


def check_shared(cfg: DictConfig) -> None:
    """Checks that every option has the same value with `replicas` as in the run of each seed.

    Raises:
        KanExpError: One differs; the message names it.
    """
    if cfg.replicas == 1:
        return
    seeds = range(cfg.seed, cfg.seed + cfg.replicas)
    probed = [*seeds[:MAX_PROBED], seeds[-1]]
    for path, text in _varying(cfg, [(cfg.seed, cfg.replicas), *((seed, 1) for seed in probed)]):
        raise KanExpError(
            f"replicas={cfg.replicas}: replica k is the run with seed+k, and {path}={text} would "
            f"not be the same for each: set {path} to a fixed value, or leave replicas out and "
            f"train the seeds one by one with -m 'seed=range({seeds.start},{seeds.stop})'."
        )


def follows_seed(cfg: DictConfig) -> dict[str, Any]:
    """Full names and unresolved values of the options that differ between seeds."""
    return dict(_varying(cfg, [(seed, cfg.replicas) for seed in PROBED_SEEDS]))


def _varying(cfg: DictConfig, runs: Iterable[tuple[int, int]]) -> Iterator[tuple[str, Any]]:
    """Options that decide the result and differ between pairs of `seed` and `replicas`."""
    probe = cfg.copy()
    first: dict[str, Any] = {}
    seen = set()
    for probe.seed, probe.replicas in runs:
        names = [str(n) for n in probe if n not in (*NON_RESULT_OPTIONS, *SEED_OPTIONS)]
        values = {name: _value(probe, name) for name in names}
        first = first or values
        for path in _differences(first, values):
            if path not in seen:
                seen.add(path)
                text: Any = _written(cfg)
                for name in path:  # parts of a single reference have no text of their own
                    text = text.get(name) if isinstance(text, Mapping) else text
                yield ".".join(path), text


def _differences(one: Any, other: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for name in dict.fromkeys([*one, *other]):
            yield from _differences(one.get(name), other.get(name), (*path, str(name)))
    elif one != other and repr(one) != repr(other):  # NaN differs from itself
        yield path


def deciding_texts(cfg: DictConfig) -> Iterator[str]:
    """The texts among the options that decide the result, their references unresolved."""
    return texts([one for name, one in _written(cfg).items() if name not in NON_RESULT_OPTIONS])


def texts(value: Any) -> Iterator[str]:
    """All texts in nested plain containers."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


def _value(cfg: DictConfig, name: str) -> Any:
    """An option in plain containers, unresolved if it cannot be resolved (yet)."""
    try:
        return _resolved(cfg, name)
    except OmegaConfBaseException:
        return _as_written(cfg, name)


def _resolved(cfg: DictConfig, name: str) -> Any:
    value = cfg[name]
    if name == "layers" and value is not None:  # a kind's own config may refer to options, too
        return all_options(cfg)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _as_written(cfg: DictConfig, name: str) -> Any:
    if OmegaConf.is_interpolation(cfg, name) or OmegaConf.is_missing(cfg, name):
        return _written(cfg)[name]
    return OmegaConf.to_container(cfg[name], resolve=False)


def _written(cfg: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(cfg, resolve=False)  # type: ignore[return-value]
