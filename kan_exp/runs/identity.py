"""Identity of runs: the options that affect a result, and a digest of their values.

Run keys, the settings of a report and the names of folders and sweeps are all based on it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# Top-level options for where a run writes, what it shows, how often it saves and how fast it is.
# `threads` is one of them: like the machine and the version of torch, it only changes the order of
# sums, hence last digits. `trainer` and `compile` are not: they select other code.
NON_RESULT_OPTIONS = (
    *("hydra", "search", "sweep", "logger", "callbacks"),
    *("threads", "checkpoint_seconds", "explain"),
)
# A report folds the runs of a setting over these.
SEED_OPTIONS = ("seed", "replicas")
# Callbacks that only observe. `pruning` may end a run early, which `stopped` records. Any other
# callback may affect the training.
OBSERVERS = {
    "figures": "kan_exp.training.callbacks.EdgeFigures",
    "progress": "kan_exp.training.callbacks.ProgressLine",
    "pruning": "kan_exp.training.callbacks.TrialPruning",
}
OBSERVING_CHOICES = ("default", "pruning")  # of the group `callbacks`


def option_name(override: str) -> str:
    """The option that an override sets: `layer.num_x` of `+layer.num_x=9`."""
    return override.partition("=")[0].lstrip("+~")


def group_name(override: str) -> str:
    """The group, or top-level option, that an override changes: `layer` of `+layer.num_x=9`."""
    return re.split(r"[./@]", option_name(override))[0]


def decides_result(override: str) -> bool:
    """Whether an override, or an option by its name, affects the result of a run."""
    name = option_name(override)
    group, *rest = re.split(r"[./@]", name)
    value = override.partition("=")[2]
    if group != "callbacks":
        return group not in NON_RESULT_OPTIONS
    if not rest:
        return value not in OBSERVING_CHOICES
    return rest[0] not in OBSERVERS and (len(rest) > 1 or value.startswith("{"))


def is_setting(option: str) -> bool:
    """Whether an option distinguishes settings: it affects the result and is not a seed."""
    return decides_result(option) and option not in SEED_OPTIONS


def digest(values: Mapping[str, Any]) -> str:
    """A digest of the options that affect the result, given by name; the same for 1 and 1.0."""
    deciding = {name: value for name, value in values.items() if name not in NON_RESULT_OPTIONS}
    callbacks = values.get("callbacks")
    if isinstance(callbacks, Mapping):
        acting = {
            name: callback
            for name, callback in callbacks.items()
            if isinstance(callback, Mapping) and callback.get("_target_") not in OBSERVERS.values()
        }
        if acting:
            deciding["callbacks"] = acting
    text = json.dumps(normalized(deciding), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def normalized(value: Any) -> Any:
    """Plain containers in which 1.0 is 1, since either may have been typed."""
    if isinstance(value, Mapping):
        return {str(name): normalized(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [normalized(inner) for inner in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value
