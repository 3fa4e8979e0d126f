"""Seeks a formula for a finished run: `python -m kan_exp.explain run=FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import check_given, check_names, load_model, run_command
from kan_exp.errors import KanExpError
from kan_exp.preparing.own_data import check_unchanged, own_data
from kan_exp.quoting import expand_home
from kan_exp.runs.cores import count_workers
from kan_exp.runs.results import read_metrics, write_metrics
from kan_exp.symbolic.functions import read_functions
from kan_exp.symbolic.units import check_units

KNOWN = ("run", "seconds", "output", "seed", "functions", "workers", "data", "modules")
INSTEAD = "explain it in Python, by kan_exp.explain(kan_exp.load(FOLDER), X, y)"


class _Callable(ModuleType):
    """Keeps `kan_exp.explain(X, y)` a call once the module of the same name is imported."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from kan_exp.symbolic.explaining import explain

        return explain(*arguments, **options)


sys.modules[__name__].__class__ = _Callable


def explain(cfg: DictConfig) -> None:
    """Writes a formula for what the network of a run has learned, and prints it."""
    check_names(cfg, "explain", KNOWN)
    check_given(cfg, "run", "seconds")
    if other := sorted(set(map(str, cfg.data)) - {"path", "units"}):
        raise KanExpError(f"data.{other[0]}: explain takes the run's own data; leave it out.")
    values = cast("dict[str, Any]", OmegaConf.to_container(cfg, resolve=True))
    functions = values["functions"] or {}
    read_functions(functions)
    workers = count_workers("workers", cfg.workers)
    run, modules = str(cfg.run), list(cfg.modules)
    model = load_model(run, modules)
    description = model.description
    from kan_exp.symbolic.explaining import check_seconds
    from kan_exp.symbolic.observations import output_of
    from kan_exp.training.explaining import ExplainSink

    check_seconds(cfg.seconds)
    output_of(model, cfg.output if cfg.output is not None else model.names[0])
    moved = {} if cfg.data.path is None else {"path": str(cfg.data.path)}
    data = own_data(Path(run), moved, description, modules, INSTEAD)
    check_unchanged(run, data, description, INSTEAD)
    if (units := values["data"]["units"]) is not None:
        data.units = check_units(
            units, {**dict.fromkeys(data.schema.names), **data.units}, "data.units"
        )
    folder = expand_home(run)
    sink = ExplainSink(folder, cfg.seconds, cfg.seed, functions, workers)
    formulas, _ = sink.explain(model, data, cfg.output)
    if metrics := read_metrics(folder):
        write_metrics(folder, {**metrics, "formulas": formulas})


if __name__ == "__main__":
    run_command("explain", explain)
