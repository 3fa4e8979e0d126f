"""Scores a trained network: `python -m kan_exp.evaluate run=FOLDER`."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import as_typed, check_names, load_model, run_command
from kan_exp.commandline.arguments import spelled
from kan_exp.data.columns import ColumnReader, shown, tidy
from kan_exp.data.options import Options
from kan_exp.data.readers import open_columns
from kan_exp.data.table import read_columns
from kan_exp.errors import KanExpError
from kan_exp.quoting import expand_home
from kan_exp.runs import option_name
from kan_exp.runs.folders import find_checkpoint
from kan_exp.targets import Target
from kan_exp.tasks import scoring_of
from kan_exp.tasks.metrics import STANDARD_ERROR, TEST
from kan_exp.tasks.numbers import metric_text

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData, Split
    from kan_exp.models.model import KANModel

log = logging.getLogger(__name__)

OPTIONS = Options(features=None)
TABLE, SAMPLED = "kan_exp.data.TableData", "kan_exp.data.SampledData"
# Options that decide nothing of the points that are scored, by what makes them.
UNUSED = {
    TABLE: ("points", "data.fractions", "data.seed"),
    SAMPLED: ("points", "data.num_train", "data.num_val", "data.border", "target.noise"),
    "kan_exp.data.SklearnData": ("points",),
    "": ("points",),
    "None": ("points",),  # the run's own table, moved
}


def evaluate(cfg: DictConfig) -> None:
    """Prints the scores of a run's network on its test points or on other data."""
    check_names(cfg, "evaluate", ("run", "target", "data", "modules", "points"))
    moved = _moved(cfg)
    if cfg.target is not None and (cfg.data is None or "target" not in cfg.data):
        raise KanExpError("target=... has no effect without data=sampled.")
    _check_unused(cfg)
    # Checks that need no torch come before its import, which takes seconds.
    reader = None if moved else _open_table(cfg)
    find_checkpoint(str(cfg.run))
    model = load_model(cfg)
    from kan_exp.models.loading import read_checkpoint
    from kan_exp.training.ranges import outside, trained_ranges
    from kan_exp.training.score import score_networks

    description = read_checkpoint(str(cfg.run))["kan_exp"]
    scoring = scoring_of(description)
    notes: list[str] = []
    if cfg.data is None or moved:
        points, source = _own_test_points(Path(cfg.run), moved), "its own test points"
    else:
        points, source = _other_points(cfg, model, reader)
        ranges = trained_ranges(model, description)
        notes = outside(points.x.double().numpy(), ranges, model.features)
    predicted = model.predict(points.x)
    (found,) = score_networks(scoring, [predicted], points.y)
    log.info("%s on %s", cfg.run, source)
    rows = []
    for one in scoring.metrics:
        key = TEST + one.name
        rows.append((one.title, metric_text(one, found[key], found.get(key + STANDARD_ERROR))))
    rows.append(("points", f"{len(points.y):,}"))
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        log.info("  %-*s  %s", width, name, value)
    for line in notes:
        log.info("Note: %s", line)


def read_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """Lets `data.path=...` without `data=...` be the new place of the run's own table."""
    words = spelled(arguments)
    if not any(option_name(text) == "data" for text in words):
        # Hydra knows no such option without a choice of data.
        words = [f"+{text}" if text.startswith("data.path=") else text for text in words]
    return "evaluate", words


def _moved(cfg: DictConfig) -> dict[str, str]:
    """The new place of the run's own table, if one is given."""
    if cfg.data is None or "_target_" in cfg.data:
        return {}
    if other := set(cfg.data) - {"path"}:
        name = f"data.{sorted(map(str, other))[0]}"
        raise KanExpError(f"{name} needs data=table: the run's own table is split as it was.")
    return {"path": str(cfg.data.path)}


def _check_unused(cfg: DictConfig) -> None:
    """Refuses options that would have no effect on the scores.

    Raises:
        KanExpError: One is set.
    """
    kind = "" if cfg.data is None else str(cfg.data.get("_target_"))
    typed = as_typed(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    for text in typed:
        if option_name(text) in UNUSED.get(kind, ()):
            scored = {TABLE: "all rows of the table", SAMPLED: "data.num_test points"}
            raise KanExpError(
                f"{text} has no effect: evaluate scores {scored.get(kind, 'the test points')}. "
                "Leave it out."
            )


def _own_test_points(run: Path, moved: dict[str, str]) -> Split:
    """The test points of a run, made again from its configuration, and known to be the same.

    Args:
        run: Its folder.
        moved: Options of its data that are others by now.
    """
    from kan_exp.models.loading import read_checkpoint

    config = _own_config(run, "data")
    if moved and config.get("_target_") != TABLE:
        raise KanExpError(f"data.path: {run} has no table of its own: leave it out.")
    try:
        data = _make_data({**config, **moved})
    except KanExpError as error:
        raise KanExpError(f"{run}: its data cannot be had again: {error}") from error
    if data.fingerprint != read_checkpoint(run)["kan_exp"].get("test_points"):
        raise KanExpError(
            f"{run}: its data have changed since, so that its test points are not known: "
            f"score it on data=..."
        )
    return data.test


def _own_config(run: Path, group: str) -> dict[str, Any]:
    path = expand_home(run) / ".hydra" / "config.yaml"
    if not path.is_file():
        raise KanExpError(f"{path} is not there: choose data=...")
    whole = cast("DictConfig", OmegaConf.load(path))
    config = OmegaConf.to_container(whole[group], resolve=True)
    return cast("dict[str, Any]", config)


def _make_data(config: dict[str, Any]) -> ExperimentData:
    """Makes data from a run's folder, which must not be able to call whatever it names."""
    import kan_exp.data

    options = dict(config)
    home, _, name = str(options.pop("_target_", None)).rpartition(".")
    kind = getattr(kan_exp.data, name, None) if home == "kan_exp.data" else None
    if not (isinstance(kind, type) and issubclass(kind, kan_exp.data.ExperimentData)):
        kind = None
    if kind is kan_exp.data.TableData:
        options["options"] = OPTIONS
    if kind is None:
        raise KanExpError(f"it comes from {config.get('_target_')!r}, not kan_exp: choose data=...")
    if kind is kan_exp.data.SampledData:
        options["target"] = _make_target(options.get("target"))
    try:
        return kind(**options)
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


def _open_table(cfg: DictConfig) -> ColumnReader | None:
    """The table whose rows are to be scored, if it is one."""
    if cfg.data is None or cfg.data.get("_target_") != TABLE:
        return None
    return open_columns(cfg.data.path, cfg.data.separator, OPTIONS)


def _rows(data: DictConfig, model: KANModel, reader: ColumnReader) -> Split:
    """The rows of a table, whose columns are found by name."""
    named = list(data.features) if OmegaConf.is_list(data.features) else [data.features]
    if data.features is not None and tuple(map(tidy, named)) != model.features:
        raise KanExpError(
            f"data.features: the network was trained on {', '.join(model.features)}: leave it out."
        )
    if not OmegaConf.is_missing(data, "target") and data.target is not None:
        return read_columns(reader, model.features, data.target).split()
    if model.target_name not in reader.names:
        raise reader.error(
            f"has no column {shown(model.target_name)} to compare predictions with: name the "
            "column with data.target=..., or write predictions with kan_exp.predict."
        )
    return read_columns(reader, model.features, model.target_name).split()


def _other_points(
    cfg: DictConfig, model: KANModel, reader: ColumnReader | None
) -> tuple[Split, str]:
    data = cfg.data
    if reader is not None:
        rows = _rows(data, model, reader)
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
    run_command("evaluate", evaluate, read_arguments)
