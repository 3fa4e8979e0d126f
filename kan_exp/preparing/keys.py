"""Digests of resolved configurations, by which equal runs are recognized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kan_exp.config import TABLE, to_component, to_values
from kan_exp.errors import KanExpError
from kan_exp.preparing.sources import SKLEARN
from kan_exp.preparing.tasks import AUTO, recognize_task
from kan_exp.preparing.values import plain_values, resolved, unresolved, without_targets
from kan_exp.runs.files import content_or_path
from kan_exp.runs.identity import NON_RESULT_OPTIONS, SEED_OPTIONS, digest

# A setting is resolved for each of these: options whose values differ follow the seed.
PROBED_SEEDS = (0, 1, 123_457)
MAX_PROBED = 64  # seeds of a stack: to resolve a configuration takes milliseconds


def run_key(cfg: DictConfig) -> str:
    """A digest of all options that affect the result, by which a repeated job is recognized.

    A table counts by its content, wherever it lies.
    """
    values = plain_values(cfg)
    values["layers"] = without_targets(values.get("layers"))
    data = values.get("data")
    if isinstance(data, dict):  # units do not change the training
        data = values["data"] = {name: data[name] for name in data if name != "units"}
    values["task"] = _task_of(values.get("task"), data)
    if isinstance(data, dict) and data.get("_target_") == TABLE:
        files = {name: data[name] for name in ("path", "test_path") if data.get(name)}
        values["data"] = data | {name: content_or_path(file) for name, file in files.items()}
    return digest(values)


def _task_of(task: Any, data: Any) -> Any:
    """The options of a task; of `task=auto`, those it stands for unless a table decides that."""
    if not isinstance(task, Mapping) or task.get("_target_") != AUTO:
        return task
    if not isinstance(data, Mapping) or data.get("_target_") in (TABLE, SKLEARN):
        return task
    return to_values(recognize_task(to_component(task), to_component(data)))


def setting_key(cfg: DictConfig) -> str:
    """A digest of a run's setting: the same for all its seeds, stacked or trained one by one.

    An option that follows the seed, as by `data.seed=${seed}`, counts by its reference: its values
    do not distinguish settings, and a setting in which it is fixed is another one.
    """
    setting = cfg.copy()
    setting.replicas = 1
    keys = []
    for seed in PROBED_SEEDS:
        setting.seed = seed
        keys.append(run_key(setting))
    return digest({"probed": keys})


def stack_key(cfg: DictConfig) -> str | None:
    """A digest of everything but the seed, which jobs must share to be trained as one network.

    None if an option is only known once the job runs, and may then depend on the job.
    """
    values = {}
    for name in map(str, cfg):
        if name in (*SEED_OPTIONS, "sweep"):
            continue
        try:
            values[name] = resolved(cfg, name)
        except OmegaConfBaseException:
            values[name] = unresolved(cfg)[name]
            if name not in NON_RESULT_OPTIONS or "seed" in str(values[name]):
                return None
    return digest({"rest": values})


def check_shared(cfg: DictConfig) -> None:
    """Checks that every option has the same value with `replicas` as in the run of each seed."""
    if cfg.replicas <= 1:
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
        values = plain_values(probe)
        for name in (*NON_RESULT_OPTIONS, *SEED_OPTIONS):
            values.pop(name, None)
        first = first or values
        for path in _differences(first, values):
            if path not in seen:
                seen.add(path)
                text: Any = unresolved(cfg)
                for name in path:  # parts of a single reference have no text of their own
                    text = text.get(name) if isinstance(text, Mapping) else text
                yield ".".join(path), text


def _differences(first: Any, second: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in dict.fromkeys([*first, *second]):
            yield from _differences(first.get(name), second.get(name), (*path, str(name)))
    elif first != second and repr(first) != repr(second):  # NaN differs from itself
        yield path
