"""Scores a trained network: `python -m kan_exp.evaluate run=FOLDER`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from omegaconf import DictConfig, OmegaConf, open_dict

from kan_exp.cli import (
    as_typed,
    check_given,
    check_names,
    hydra_config,
    load_model,
    run_command,
)
from kan_exp.commandline.arguments import spelled
from kan_exp.config import SAMPLED, STREAM, TABLE, to_component
from kan_exp.data.batches import Batches
from kan_exp.data.classes import check_known
from kan_exp.data.columns import shown, tidy
from kan_exp.data.ranges import outside
from kan_exp.data.reading import choose
from kan_exp.data.schema import Schema
from kan_exp.data.table import read_weight
from kan_exp.data.table_file import TableFile
from kan_exp.data.treatment import Treatment
from kan_exp.errors import KanExpError, listing
from kan_exp.preparing.components import make_data
from kan_exp.preparing.own_data import OPTIONS, check_unchanged, own_data, stored_group
from kan_exp.runs import option_name
from kan_exp.runs.identity import group_name
from kan_exp.runs.printable import aligned, counted
from kan_exp.tasks import scoring_of
from kan_exp.tasks.metrics import OF_EQUATIONS
from kan_exp.tasks.numbers import metric_texts

if TYPE_CHECKING:
    from kan_exp.data import Split
    from kan_exp.models.model import KANModel

log = logging.getLogger(__name__)

INSTEAD = "score it on data=..."
KNOWN = ("run", "target", "data", "modules", "points")
# Options that do not change the points that are scored, by what makes the points.
UNUSED = {
    TABLE: (
        *("points", "data.fractions", "data.seed", "data.drop", "data.missing_values"),
        *("data.kinds", "data.scale", "data.decimal"),
        *("data.split", "data.group", "data.test_path", "data.folds", "data.repeats"),
    ),
    SAMPLED: ("points", "data.num_train", "data.num_val", "data.border", "target.noise"),
}


def evaluate(cfg: DictConfig) -> None:
    """Prints the scores of a run's network on its test points or on other data."""
    typed = {group_name(text) for text in as_typed(hydra_config().overrides.task)}
    with open_dict(cfg):
        for name in {*map(str, cfg)} - {*KNOWN, *typed}:  # what data=table sets for trainings
            del cfg[name]
    check_names(cfg, "evaluate", KNOWN)
    check_given(cfg, "run")
    moved = _moved(cfg)
    if cfg.target is not None and (cfg.data is None or "target" not in cfg.data):
        raise KanExpError("target=... has no effect without data=sampled.")
    _check_unused(cfg)
    batches = None
    if cfg.data is not None and cfg.data.get("_target_") == TABLE:
        batches = Batches(cfg.data.path, cfg.data.separator, OPTIONS)
    run, modules = str(cfg.run), list(cfg.modules)
    model = load_model(run, modules)
    description = model.description
    from kan_exp.training.score import score_networks

    scoring = scoring_of(description)
    # Residuals and derivatives belong to the problem, not to points of a table.
    shown = [one for one in scoring.metrics if one.name not in OF_EQUATIONS]
    if not shown:
        raise KanExpError(
            f"{run} solves a differential equation without a known solution: read test_residual in "
            f"its metrics.json"
        )
    if batches is not None:
        scored = _score_table(cfg.data, model, batches)
    else:
        notes: list[str] = []
        if cfg.data is None or moved:
            split = own_test_points(Path(run), moved, description, modules)
            source = "its own test points"
        else:
            split, source = _other_points(cfg, model.schema)
            x = split.x.double().numpy()
            notes = outside(x, model.trained_ranges, model.features)
        truth = model.schema.decode_outputs(split.y)
        (scores,) = score_networks(scoring, [model.predict(split.x)], truth, split.weight)
        scored = _Scored(scores, len(split.y), source, notes)
    log.info("%s on %s", run, scored.source)
    rows = [(metric.title, text) for metric, text in metric_texts(shown, scored.scores)]
    rows.append(("points", f"{scored.points:,}"))
    for line in aligned(rows):
        log.info("%s", line)
    for line in scored.notes:
        log.info("Note: %s", line)


class _Scored(NamedTuple):
    """Entries of `metrics.json`, of how many points, what these are, and lines about them."""

    scores: Mapping[str, float | None]
    points: int
    source: str
    notes: Sequence[str]


def read_arguments(arguments: list[str]) -> tuple[str, list[str]]:
    """Lets `data.path=...` without `data=...` be the new location of the run's own table."""
    words = spelled(arguments)
    if not any(option_name(text) == "data" for text in words):
        # Hydra knows no such option without a choice of data.
        words = [f"+{text}" if text.startswith("data.path=") else text for text in words]
    return "evaluate", words


def _moved(cfg: DictConfig) -> dict[str, str]:
    """The new location of the run's own table, if one is given."""
    if cfg.data is None or "_target_" in cfg.data:
        return {}
    if other := set(cfg.data) - {"path"}:
        name = f"data.{sorted(map(str, other))[0]}"
        raise KanExpError(
            f"{name} needs data=..., such as data=sampled or data=table: without it the run's own "
            f"test points are scored."
        )
    return {"path": str(cfg.data.path)}


def _check_unused(cfg: DictConfig) -> None:
    """Refuses options that would have no effect on the scores."""
    kind = "" if cfg.data is None else str(cfg.data.get("_target_"))
    if kind == STREAM:
        raise KanExpError("data=stream is for trainings: set data=table, which reads any size.")
    for text in as_typed(hydra_config().overrides.task):
        if option_name(text) in UNUSED.get(kind, ("points",)):
            scored = {TABLE: "all rows of the table", SAMPLED: "data.num_test points"}
            raise KanExpError(
                f"{text} has no effect: evaluate scores {scored.get(kind, 'the test points')}. "
                "Leave it out."
            )


def own_test_points(
    run: Path,
    moved: dict[str, str],
    description: Mapping[str, Any],
    modules: Sequence[str],
) -> Split:
    """The test points of a run, made again from its configuration."""
    data = own_data(run, moved, description, modules, INSTEAD)
    if data.num_folds:
        raise KanExpError(
            f"{run}: its network was trained on all rows, and its error is that of the "
            f"{data.num_folds} folds in metrics.json: {INSTEAD}"
        )
    check_unchanged(run, data, description, INSTEAD)
    return data.test


def _with_target(data: DictConfig, schema: Schema, file: TableFile) -> Schema:
    """The schema of a table's columns, which are found by name."""
    named = list(data.features) if OmegaConf.is_list(data.features) else [data.features]
    if data.features is not None and tuple(map(tidy, named)) != schema.columns:
        raise KanExpError(
            f"data.features: the network was trained on {', '.join(schema.columns)}: leave it out."
        )
    if not OmegaConf.is_missing(data, "target") and data.target is not None:
        targets = choose(file, schema.columns, data.target).targets
        if len(targets) != len(schema.outputs):
            raise KanExpError(
                f"data.target: the network has {len(schema.outputs)} outputs "
                f"({listing(map(shown, schema.targets))}), got {len(targets)}."
            )
        columns = zip(schema.outputs, targets, strict=True)
        return replace(
            schema, outputs=tuple(replace(column, name=name) for column, name in columns)
        )
    if missing := [name for name in schema.targets if name not in file.names]:
        raise file.error(
            f"has no column {shown(missing[0])} to compare predictions with: name the "
            "column with data.target=..., or write predictions with kan_exp.predict."
        )
    return schema


def _score_table(data: DictConfig, model: KANModel, batches: Batches) -> _Scored:
    """Scores the rows of a table, a part at a time."""
    import torch

    from kan_exp.models.streaming import Predictor
    from kan_exp.training.running_scores import RunningScores

    schema = _with_target(data, model.schema, batches.first)
    running = RunningScores(scoring_of(model.description))
    drops = Treatment(missing=str(data.get("missing", "error"))).missing != "error"
    weight, weighs, without = data.get("weight"), False, 0
    predictor = Predictor(model, schema, drops)
    with predictor.run(batches, "evaluate") as parts:
        for part in parts:
            check_known(part.table, part.file)
            kept = torch.from_numpy(~part.gaps)
            truth = schema.decode_outputs(torch.from_numpy(part.table.y))
            without += int(truth.isnan().any(1).sum())
            weights = None
            if weight is not None:
                weights = torch.from_numpy(read_weight(part.file, weight, is_part=True))[kept]
                weighs = weighs or bool(weights.any())
            running.add(part.predicted[kept], truth[kept], weights)
    if weight is not None and not weighs:
        raise batches.first.error(f"data.weight={weight} is 0 in all rows: choose another column.")
    notes = predictor.notes()
    if without:
        have = "has" if without == 1 else "have"
        names = " or no ".join(map(shown, schema.targets))
        notes.append(f"{without:,} of {predictor.rows + predictor.gaps:,} rows {have} no {names}.")
    source = f"{counted(predictor.rows, 'row')} of {batches.first.source}"
    return _Scored(running.scores(), predictor.rows, source, notes)


def _other_points(cfg: DictConfig, schema: Schema) -> tuple[Split, str]:
    """Points to score that are no rows of a table, and their source."""
    values = cast("dict[str, Any]", OmegaConf.to_container(cfg.data, resolve=True))
    own = "target" in values and OmegaConf.is_interpolation(cfg.data, "target")
    if own and cfg.target is None:
        # The run's own function, unless another is asked for.
        values["target"] = stored_group(Path(cfg.run), "target", list(cfg.modules), INSTEAD)
    source = make_data(to_component(values))
    if source.features != schema.features:
        raise KanExpError(
            f"data: has the inputs {', '.join(source.features)}, but the network was trained on "
            f"{', '.join(schema.features)}."
        )
    return source.test, source.summary


if __name__ == "__main__":
    run_command("evaluate", evaluate, read_arguments)
