"""Scores a trained network: `python -m kan_exp.evaluate run=FOLDER`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import load_model, run_command
from kan_exp.errors import KanExpError

if TYPE_CHECKING:
    from kan_exp.data import Split
    from kan_exp.training.model import KANModel

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig) -> None:
    """Prints the scores of a run's network on its test points or on other data."""
    model = load_model(cfg)
    from kan_exp.training.model import score

    if cfg.data is None:
        points, source = _own_test_points(Path(cfg.run)), "its own test points"
    else:
        points, source = _other_points(cfg.data, model)
    found = score(model.predict(points.x), points.y)
    log.info("%s on %s", cfg.run, source)
    for name, value in (("RMSE", found.rmse), ("MAE", found.mae)):
        log.info("  %-8s %.4g", name, value)
    log.info("  %-8s %.6f", "R²", found.r2)
    log.info("  %-8s %s", "points", f"{found.points:,}")


def _own_test_points(run: Path) -> Split:
    """The test points of a run, made again from its configuration."""
    path = run.expanduser() / ".hydra" / "config.yaml"
    if not path.is_file():
        raise KanExpError(f"{path}: not found, so the run's data are unknown: choose data=...")
    config = OmegaConf.load(path)
    data = config.data
    for target in _targets(OmegaConf.to_container(data, resolve=True)):
        # A folder from elsewhere must not be able to call whatever it names.
        if not target.startswith(("kan_exp.data.", "kan_exp.targets.")):
            raise KanExpError(f"{path}: data come from {target!r}, not kan_exp: choose data=...")
    points: Split = instantiate(data).test
    return points


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)


def _other_points(data: DictConfig, model: KANModel) -> tuple[Split, str]:
    from kan_exp.data import score_rows

    if data._target_ == "kan_exp.data.TableData":
        target = model.target_name if OmegaConf.is_missing(data, "target") else data.target
        rows = score_rows(data.path, model.features, target, data.separator)
        return rows, f"{len(rows.x):,} rows of {data.path}"
    source = instantiate(data)
    if source.features != model.features:
        raise KanExpError(
            f"data: has the inputs {', '.join(source.features)}, but the network was trained on "
            f"{', '.join(model.features)}."
        )
    return source.test, source.summary


if __name__ == "__main__":
    run_command("evaluate", evaluate)
