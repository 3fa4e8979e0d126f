"""The configuration of a training on rows in memory: that of a table, without its files."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig

from kan_exp.commandline.explain import USER_ERRORS, one_line
from kan_exp.commandline.spelling import MAPPINGS
from kan_exp.config import ARRAYS, Component, RunConfig, RunContext
from kan_exp.errors import KanExpError
from kan_exp.preparing.checks import check
from kan_exp.preparing.translation import composed, translate
from kan_exp.quoting import quoted

if TYPE_CHECKING:
    from kan_exp.data.table import Table

# What a run in memory does not have: files, and the parts of the program that write or show them.
BASE = ("data=table", "data.path=X", "data.target=y", "logger=none", "~callbacks.figures")
FILES = ("data", "logger", "callbacks", "explain", "sweep", "hydra", "experiment", "search")
_composing = threading.Lock()  # Hydra has one composition at a time


def array_config(
    options: Mapping[str, Any],
    table: Table,
    seed: int,
    task: Mapping[str, Any] | None = None,
    progress: bool = False,
) -> tuple[RunConfig, RunContext]:
    """The checked configuration of a training on a table in memory.

    Args:
        options: Of conf/ by name, such as `{"layer": "spline", "refine.steps": [10, 20]}`.
        table: What is trained on.
        seed: Decides the start and which rows are for validation.
        task: Further options of the task, which need not be writable in YAML.
        progress: Whether there is a progress bar.

    Raises:
        KanExpError: There is no such option or value, or it does not go with others or the rows.
    """
    for name in options:
        if name.partition(".")[0].lstrip("+~") in FILES:
            raise KanExpError(
                f"{name} is an option of commands, which read and write files: leave it out."
            )
    texts = tuple(f"{name}={_text(name, value)}" for name, value in options.items())
    with _composing:
        config, context = _translated(texts)
    fractions = config.data.options["fractions"]
    data = Component(ARRAYS, {"table": table, "fractions": fractions, "seed": seed})
    callbacks = dict(config.callbacks) if progress else {}
    dims = None if config.dims is None else list(config.dims)  # which `resolve_widths` changes
    judged = replace(config.task, options={**config.task.options, **(task or {})})
    config = replace(config, data=data, task=judged, seed=seed, callbacks=callbacks, dims=dims)
    check(config, context)
    return config, context


@lru_cache(256)
def _translated(texts: Sequence[str]) -> tuple[RunConfig, RunContext]:
    before = HydraConfig.instance().cfg  # of a program that is one of Hydra's itself
    try:
        with composed([*BASE, *texts], "none") as (cfg, hydra):
            config, context = translate(cfg, hydra)
    except USER_ERRORS as error:
        raise KanExpError(one_line(error)) from error
    finally:
        HydraConfig.instance().cfg = before
    choices = {**context.choices, "data": "X"}
    return config, replace(context, overrides=texts, choices=choices)


def _text(name: str, value: Any) -> str:
    """A value as Hydra reads it."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, Integral | Real):
        return str(int(value) if isinstance(value, Integral) else float(value))
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, Mapping):
        if name in MAPPINGS:  # whose columns may be any text
            return f"[{','.join(quoted(f'{key}: {part}') for key, part in value.items())}]"
        pairs = ", ".join(f"{key}: {_text(name, part)}" for key, part in value.items())
        return f"{{{pairs}}}"
    if isinstance(value, Sequence):
        return f"[{','.join(_text(name, part) for part in value)}]"
    if hasattr(value, "tolist"):  # an array, or a number of NumPy
        return _text(name, value.tolist())
    raise KanExpError(f"{name} must be a number, a text, a list or a mapping, got {value!r}.")
