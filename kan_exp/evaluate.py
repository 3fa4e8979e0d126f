"""Scores a trained network: `python -m kan_exp.evaluate run=FOLDER`."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import load_model, run_command
from kan_exp.errors import KanExpError
from kan_exp.targets import Target

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData, Split
    from kan_exp.training.model import KANModel

log = logging.getLogger(__name__)


def evaluate(cfg: DictConfig) -> None:
    """Prints the scores of a run's network on its test points or on other data."""
    if unknown := set(cfg) - {"run", "target", "data", "modules", "points"}:
        raise KanExpError(f"+{sorted(unknown)[0]}: evaluate has no such option.")
    if cfg.target is not None and (cfg.data is None or "target" not in cfg.data):
        raise KanExpError("target=... has no effect without data=sampled.")
    model = load_model(cfg)
    from kan_exp.plots.style import short_r2
    from kan_exp.training.model import score

    if cfg.data is None:
        points, source = _own_test_points(Path(cfg.run)), "its own test points"
    else:
        points, source = _other_points(cfg, model)
    found = score(model.predict(points.x), points.y)
    log.info("%s on %s", cfg.run, source)
    for name, value in (("RMSE", found.rmse), ("MAE", found.mae)):
        log.info("  %-8s %.3g", name, value)
    log.info("  %-8s %s", "R²", short_r2(found.r2))
    log.info("  %-8s %s", "r", short_r2(found.r if math.isfinite(found.r) else None))
    log.info("  %-8s %s", "points", f"{found.points:,}")


def _own_test_points(run: Path) -> Split:
    """The test points of a run, made again from its configuration, and known to be the same."""
    from kan_exp.training.folder import read_checkpoint

    try:
        data = _make_data(_own_config(run, "data"))
    except KanExpError as error:
        raise KanExpError(f"{run}: its data cannot be had again: {error}") from error
    if data.fingerprint != read_checkpoint(run)["kan_exp"].get("test_points"):
        raise KanExpError(
            f"{run}: its data have changed since, so that its test points are not known: "
            f"score it on data=..."
        )
    return data.test


def _own_config(run: Path, group: str) -> dict[str, Any]:
    path = run.expanduser() / ".hydra" / "config.yaml"
    if not path.is_file():
        raise KanExpError(f"{path} is not there: choose data=...")
    whole = cast("DictConfig", OmegaConf.load(path))
    config = OmegaConf.to_container(whole[group], resolve=True)
    return cast("dict[str, Any]", config)


def _make_data(config: dict[str, Any]) -> ExperimentData:
    """Makes data from a run's folder, which must not be able to call whatever it names."""
    import kan_exp.data

    kinds = {
        f"kan_exp.data.{kind.__name__}": kind
        for kind in (kan_exp.data.SampledData, kan_exp.data.TableData, kan_exp.data.SklearnData)
    }
    options = dict(config)
    kind = kinds.get(str(options.pop("_target_", None)))
    if kind is None:
        raise KanExpError(f"it comes from {config.get('_target_')!r}, not kan_exp: choose data=...")
    if kind is kan_exp.data.SampledData:
        options["target"] = _make_target(options.get("target"))
    try:
        return cast("ExperimentData", kind(**options))
    except TypeError as error:
        raise KanExpError(f"its configuration does not fit: {error}. Choose data=...") from error


def _make_target(config: Any) -> Target:
    options = dict(config) if isinstance(config, dict) else {}
    name = options.pop("_target_", None)
    if name != "kan_exp.targets.Target":
        raise KanExpError(f"its target comes from {name!r}, not kan_exp: choose data=...")
    try:
        return Target(**options)
    except TypeError as error:
        raise KanExpError(f"its target does not fit: {error}. Choose data=...") from error


def _other_points(cfg: DictConfig, model: KANModel) -> tuple[Split, str]:
    from kan_exp.data import score_rows

    data = cfg.data
    if data._target_ == "kan_exp.data.TableData":
        target = model.target_name if OmegaConf.is_missing(data, "target") else data.target
        rows = score_rows(data.path, model.features, target, data.separator)
        return rows, f"{len(rows.x):,} rows of {data.path}"
    own = "target" in data and OmegaConf.is_interpolation(data, "target")
    if own and cfg.target is None:
        # The run's own function, unless another is asked for.
        source = instantiate(data, target=_make_target(_own_config(Path(cfg.run), "target")))
    else:
        source = instantiate(data)
    if source.features != model.features:
        raise KanExpError(
            f"data: has the inputs {', '.join(source.features)}, but the network was trained on "
            f"{', '.join(model.features)}."
        )
    return source.test, source.summary


if __name__ == "__main__":
    run_command("evaluate", evaluate)
