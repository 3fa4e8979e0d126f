"""Checks of the data that need no torch: names, numbers, and whole tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kan_exp.config import check_width
from kan_exp.data.checks import check_sampled, check_whole, sklearn_width
from kan_exp.data.options import Options
from kan_exp.errors import KanExpError
from kan_exp.training.host_memory import check_points_fit

if TYPE_CHECKING:
    from kan_exp.data.table import Table

TABLE = "kan_exp.data.TableData"
SAMPLED = "kan_exp.data.SampledData"
SKLEARN = "kan_exp.data.SklearnData"


def check_missing(cfg: DictConfig) -> None:
    """Checks that a table has its options; the error lists its columns.

    Raises:
        KanExpError: There is no `data.path` or no `data.target`.
    """
    if cfg.data is None or cfg.data.get("_target_") != TABLE:
        return
    if OmegaConf.is_missing(cfg.data, "path") or cfg.data.path is None:
        raise KanExpError("data.path is needed, the file of the table: set it with data.path=...")
    if OmegaConf.is_missing(cfg.data, "target") or cfg.data.target is None:
        # The error lists the columns.
        _learning_table({**_options(cfg.data, "target"), "target": None}, None)


def check_source(cfg: DictConfig, choices: dict[str, str]) -> int | None:
    """Checks the source of the points.

    A table is read here, and not again by the data that are made of it.

    Returns:
        The number of training points, where it is known.

    Raises:
        KanExpError: The data cannot be had, or have another number of inputs than `dims`.
    """
    data, dims = cfg.data, list(cfg.dims)
    kind = data.get("_target_")
    if kind in (SAMPLED, TABLE, SKLEARN):
        check_whole("data.seed", data.get("seed"), least=0)
    target = None
    if kind == SAMPLED and isinstance(data.target, str):
        raise KanExpError(
            f"data.target={data.target}: data=sampled draws from a formula: choose one with "
            f"target=..., or set data=table and data.path=FILE to learn a column."
        )
    if uses_target(cfg):
        target = instantiate(cfg.target)
        check_width(f"target '{choices['target']}'", len(target.inputs), dims)
    if kind == SAMPLED and target is not None:
        named = "points" if OmegaConf.is_interpolation(data, "num_train") else "data.num_train"
        counts = data.num_train, data.num_val, data.num_test
        check_sampled(target, *counts, named, data.get("border", 0.0))
        check_points_fit(
            f"{named} and data.num_val, data.num_test", sum(map(int, counts)), dims[0] + 1
        )
        return int(data.num_train)
    if kind == TABLE:
        from kan_exp.data.table import split_rows

        options = _options(data)
        table = _learning_table(options, tuple(dims))
        check_width(f"data '{choices['data']}'", len(table.features), dims)
        return split_rows(table.source, table.rows, options["fractions"]).train
    if kind == SKLEARN:
        check_width(f"data '{choices['data']}'", sklearn_width(data.name), dims)
    return None


def uses_target(cfg: DictConfig) -> bool:
    """Whether the data are drawn from the target that was chosen."""
    if "target" not in cfg.data or not OmegaConf.is_interpolation(cfg.data, "target"):
        return False
    target = cfg.data.target
    return target is None or OmegaConf.is_dict(target)  # not of a table, whose target is a name


def _options(data: DictConfig, *without: str) -> dict[str, Any]:
    return {str(name): _plain(data[name]) for name in data if name not in without}


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _learning_table(options: dict[str, Any], dims: tuple[int, ...] | None) -> Table:
    from kan_exp.data.table import learning_table  # numpy takes a quarter of a command's start

    names = ("path", "target", "features", "fractions", "separator")
    given: dict[str, Any] = {name: options.get(name) for name in names}
    return learning_table(**given, options=Options(dims=dims))
