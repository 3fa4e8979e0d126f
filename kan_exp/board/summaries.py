"""Summaries for TensorBoard's plugins."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.util.tensor_util import make_tensor_proto
from torch.utils.tensorboard import summary

from kan_exp.board import SEED_TAG
from kan_exp.runs.printable import printable
from kan_exp.tasks import Metric, scoring_of
from kan_exp.tasks.metrics import TEST, higher_is_better, linear_of, title
from kan_exp.tasks.numbers import near_one, number

MAX_OTHERS = 2  # metrics in the HParams tab in addition to the primary one
MARKUP = re.compile(r"[\\`*_{}\[\]()#!|<>&~^$]")
BEGAN = re.compile(r"(\d\d-){3}\d{6}(?=_)")


def scalars(values: Mapping[str, float]) -> Summary:
    """One point of several curves."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()])


def figure(tag: str, picture: bytes) -> Summary:
    """A figure, given as PNG or GIF; torch's function would encode it again."""
    if picture.startswith(b"GIF"):
        width, height = (int.from_bytes(picture[at : at + 2], "little") for at in (6, 8))
    else:
        width, height = (int.from_bytes(picture[at : at + 4]) for at in (16, 20))
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=picture)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def text(tag: str, markdown: str) -> Summary:
    """A text for the Text tab."""
    written = summary.text(tag, markdown.encode(errors="backslashreplace").decode())
    written.value[0].tag = tag  # torch appends "/text_summary", which the tab would show
    return written


def code_block(content: str, language: str) -> str:
    """A markdown code block, whose fence is longer than any in its content."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", content)), default=0))
    return f"{fence}{language}\n{content}\n{fence}"


def literal(content: str) -> str:
    """A line of text in which all markup characters of markdown and HTML are escaped."""
    return MARKUP.sub(lambda match: f"&#{ord(match[0])};", printable(content))


def result_text(metrics: Mapping[str, Any]) -> str:
    """The result of a run, the content of metrics.json, as a table in markdown."""

    def shown(name: str) -> str:
        value = metrics.get(name)
        return near_one(value) if higher_is_better(name) else number(value, digits=4)

    rows: dict[str, str] = {}
    for name in scoring_of(metrics).results:
        linear = linear_of(name)
        rows[title(name)] = shown(name) + (f" (linear model {shown(linear)})" if linear else "")
    for one in metrics.get("formulas", ()):
        said = "found" if one["found"] else "not found: the best of those tried"
        said += f"; RMSE {number(one['rmse'], digits=4)}"
        rows[f"formula of {literal(one['target'])}"] = f"{literal(one['formula'])} ({said})"
    versions = ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())
    rows |= {
        "parameters": f"{metrics['parameters']:,}",
        "steps": f"{metrics['steps']:,}, kept the network of step {metrics['best_step']:,}",
        "stopped by": literal(metrics["stopped"]),
        "seconds": f"{metrics['train_seconds']:.1f} on {literal(metrics['device'])}",
        "versions": literal(versions),
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {v} |" for name, v in rows.items())])


def results(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that the HParams tab shows, in its order; few, so that none needs scrolling."""
    scoring = scoring_of(metrics)
    others = [f"{TEST}{metric.name}" for metric in scoring.metrics if metric is not scoring.primary]
    names = [scoring.judged_by, scoring.chosen_by, *others[:MAX_OTHERS]]
    names += ["train_seconds", "parameters"]
    return {name: float(metrics[name]) for name in names if metrics[name] is not None}


@dataclass(frozen=True)
class Trial:
    """A run, or one seed of a stacked run, as a row of the HParams tab."""

    overrides: Sequence[str]  # as the user typed them
    folder: Path  # of the run
    job: int | None  # its number in its sweep
    choices: Mapping[str, Any]  # the configuration, flat

    @property
    def name(self) -> str:
        """The overrides, and when the run began: TensorBoard shows the mean of equal names."""
        above = self.folder.parts[:-1]
        start = BEGAN.match(self.folder.name)  # the rest of such a name repeats the overrides
        last = start[0] if start else self.folder.name
        path = [*above[-1:], last] if self.job is None else [*above[-2:], str(self.job)]
        return printable(f"{', '.join(self.overrides) or 'defaults'} ({'/'.join(path)})")

    def of_seed(self, seed: int) -> Trial:
        """The trial of a run with that seed alone."""
        rest = [text for text in self.overrides if not text.startswith(("seed=", "replicas="))]
        choices = {name: value for name, value in self.choices.items() if name != "replicas"}
        return replace(self, overrides=[*rest, f"seed={seed}"], choices={**choices, "seed": seed})

    def _start(self) -> HParamsPluginData:
        # torch's summary.hparams gives a session no name.
        info = SessionStartInfo(group_name=self.name, start_time_secs=time.time())
        for name, value in self.choices.items():
            if value is None:  # so that each column has one type
                continue
            choice = info.hparams[printable(name)]
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                choice.number_value = value
            else:
                shown = str(value).lower() if isinstance(value, bool) else str(value)
                choice.string_value = printable(shown)
        return HParamsPluginData(session_start_info=info)

    def start(self) -> Summary:
        """The configuration, for the HParams tab."""
        return _session(hparams.SESSION_START_INFO_TAG, self._start())

    def seed_with_results(self, metrics: Mapping[str, Any]) -> Summary:
        """One seed of a stacked run with its results, for `ResultsContext`.

        TensorBoard expects one trial per folder, with results among the curves, and ignores this.
        """
        content = make_tensor_proto([json.dumps(results(metrics)).encode()])
        return _session(f"{SEED_TAG}{self.choices['seed']}", self._start(), content)


def session_end(complete: bool) -> Summary:
    """The end of a run, for the HParams tab."""
    status = STATUS_SUCCESS if complete else STATUS_FAILURE
    info = SessionEndInfo(status=status, end_time_secs=time.time())
    return _session(hparams.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))


def _session(
    tag: str, content: HParamsPluginData, tensor: TensorProto = hparams.NULL_TENSOR
) -> Summary:
    metadata = hparams.create_summary_metadata(content)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def layout(primary: Metric, penalties: bool, replicas: bool) -> Summary:
    """The diagrams of the Custom Scalars tab.

    TensorBoard merges the layouts of several runs by the titles of their categories: categories
    with the same title must have the same charts.
    """
    tags = {"loss": "loss/(train|val)", primary.title: f"error/(train|val)_{primary.name}"}
    charts = {
        name: ["Multiline", [f"{tag}$", f"{tag}/median$"]]  # of one network, of replicas
        for name, tag in tags.items()
    }
    categories: dict[str, dict[str, list[Any]]] = {f"Loss and {primary.title}": charts}
    if penalties:
        categories["Penalties"] = {"penalties": ["Multiline", ["penalty/"]]}
    if replicas:
        bands = {
            "loss of replicas, training": "loss/train",
            "loss of replicas, validation": "loss/val",
            f"{primary.title} of replicas, validation": f"error/val_{primary.name}",
        }
        quartiles = ("median", "lower_quartile", "upper_quartile")
        categories[f"Replicas, {primary.title}"] = {
            f"{name}: median and quartiles": ["Margin", [f"{tag}/{part}" for part in quartiles]]
            for name, tag in bands.items()
        }
    return summary.custom_scalars(categories)
