"""Summaries for TensorBoard's plugins, made of its own messages: its helpers need TensorFlow."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.plugins.custom_scalar import metadata as custom_scalars
from tensorboard.plugins.custom_scalar.layout_pb2 import (
    Category,
    Chart,
    Layout,
    MarginChartContent,
    MultilineChartContent,
)
from tensorboard.plugins.hparams import metadata as hparams
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from tensorboard.plugins.text import metadata as text_plugin

from kan_exp.runs.printable import printable
from kan_exp.tasks import Metric, scoring_of
from kan_exp.tasks.metrics import TEST, higher_is_better, linear_of, title
from kan_exp.tasks.numbers import near_one, number

RESULT = "result/"  # the prefix of metrics in the HParams tab
MAX_OTHERS = 2  # metrics there that are not the primary one
MARKUP = re.compile(r"[\\`*_{}\[\]()#!|<>&~^$]")
BEGAN = re.compile(r"(\d\d-){3}\d{6}(?=_)")
SEED_TAG = f"{hparams.SESSION_START_INFO_TAG}/"


def scalars(values: Mapping[str, float]) -> Summary:
    """One point of several curves."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=v) for tag, v in values.items()])


def figure(tag: str, png: bytes) -> Summary:
    """A figure that is encoded already."""
    width, height = (int.from_bytes(png[at : at + 4]) for at in (16, 20))  # of the PNG's header
    image = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=png)
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def text(tag: str, markdown: str) -> Summary:
    """Something to read in the Text tab."""
    metadata = text_plugin.create_summary_metadata(display_name="", description="")
    return _strings(tag, [markdown.encode(errors="backslashreplace")], metadata)


def code_block(content: str, language: str) -> str:
    """A markdown code block, whose fence is longer than any in its content."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", content)), default=0))
    return f"{fence}{language}\n{content}\n{fence}"


def literal(content: str) -> str:
    """A line of text in which all markup characters of markdown and HTML are escaped."""
    return MARKUP.sub(lambda found: f"&#{ord(found[0])};", printable(content))


def result_text(metrics: Mapping[str, Any]) -> str:
    """What came of a run, as a table in markdown.

    Args:
        metrics: The content of metrics.json.
    """

    def shown(name: str) -> str:
        value = metrics.get(name)
        return near_one(value) if higher_is_better(name) else number(value, digits=4)

    versions = ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())
    linear = {name: linear_of(name) for name in scoring_of(metrics).results}
    rows = {
        **{
            title(name): f"{shown(name)} (linear model {shown(other)})" if other else shown(name)
            for name, other in linear.items()
        },
        "parameters": f"{metrics['parameters']:,}",
        "steps": f"{metrics['steps']:,}, kept the network of step {metrics['best_step']:,}",
        "stopped by": literal(metrics["stopped"]),
        "seconds": f"{metrics['train_seconds']:.1f} on {literal(metrics['device'])}",
        "versions": literal(versions),
    }
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {v} |" for name, v in rows.items())])


def results(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of a run that the HParams tab shows, in its order.

    More columns than these would have to be scrolled for.

    Args:
        metrics: The content of metrics.json.
    """
    scoring = scoring_of(metrics)
    judged, chosen = scoring.judged_by, scoring.chosen_by
    others = [f"{TEST}{one.name}" for one in scoring.metrics if one is not scoring.primary]
    names = (judged, chosen, *others[:MAX_OTHERS], "train_seconds", "parameters")
    return {name: float(metrics[name]) for name in names if metrics[name] is not None}


@dataclass(frozen=True)
class Trial:
    """A run, or one seed of a stacked run, as the HParams tab knows it.

    Args:
        overrides: What was asked for, as typed.
        folder: Of the run.
        job: Its number in its sweep, if it is part of one.
        choices: What was chosen, flat; what is `None` is left out, so that a column has one type.
    """

    overrides: Sequence[str]
    folder: Path
    job: int | None
    choices: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The overrides, and when the run began.

        TensorBoard takes runs of one name for repetitions and shows their mean.
        """
        above = self.folder.parts[:-1]
        began = BEGAN.match(self.folder.name)  # the rest of such a name is the overrides again
        last = began[0] if began else self.folder.name
        place = [*above[-1:], last] if self.job is None else [*above[-2:], str(self.job)]
        return printable(f"{', '.join(self.overrides) or 'defaults'} ({'/'.join(place)})")

    def of_seed(self, seed: int) -> Trial:
        """What a run of that seed alone would have been."""
        rest = [text for text in self.overrides if not text.startswith(("seed=", "replicas="))]
        choices = {name: value for name, value in self.choices.items() if name != "replicas"}
        return replace(self, overrides=[*rest, f"seed={seed}"], choices={**choices, "seed": seed})

    def _start(self) -> SessionStartInfo:
        info = SessionStartInfo(group_name=self.name, start_time_secs=time.time())
        for name, value in self.choices.items():
            choice = printable(name)
            if isinstance(value, bool):
                info.hparams[choice].string_value = str(value).lower()
            elif isinstance(value, (int, float)):
                info.hparams[choice].number_value = value
            elif value is not None:
                info.hparams[choice].string_value = printable(str(value))
        return info

    def start(self) -> Summary:
        """What was chosen, for the HParams tab."""
        content = HParamsPluginData(session_start_info=self._start())
        return _session(hparams.SESSION_START_INFO_TAG, content, hparams.NULL_TENSOR)

    def seed_with_results(self, metrics: Mapping[str, Any]) -> Summary:
        """One seed of a stacked run with its results, for `ResultsContext`.

        TensorBoard by itself knows one trial per folder and looks for its results among the
        curves; it passes over this.
        """
        content = HParamsPluginData(session_start_info=self._start())
        found = [json.dumps(results(metrics)).encode()]
        return _session(f"{SEED_TAG}{self.choices['seed']}", content, _tensor(found))


def session_end(complete: bool) -> Summary:
    """That a run is over, for the HParams tab."""
    status = STATUS_SUCCESS if complete else STATUS_FAILURE
    info = SessionEndInfo(status=status, end_time_secs=time.time())
    content = HParamsPluginData(session_end_info=info)
    return _session(hparams.SESSION_END_INFO_TAG, content, hparams.NULL_TENSOR)


def layout(primary: Metric, penalties: bool, replicas: bool) -> Summary:
    """What the Custom Scalars tab draws together.

    TensorBoard puts the layouts of several runs together by the titles of their categories: those
    of one title must have the same charts.

    Args:
        primary: The task's primary metric.
        penalties: Whether the run logs any.
        replicas: Whether it logs how its replicas are spread.
    """
    ends = ("$", "/median$")  # of one network, of replicas
    categories = [
        Category(
            title=f"Loss and {primary.title}",
            chart=[
                _lines("loss", [f"loss/(train|val){end}" for end in ends]),
                _lines(primary.title, [f"error/(train|val)_{primary.name}{end}" for end in ends]),
            ],
        )
    ]
    if penalties:
        categories.append(Category(title="Penalties", chart=[_lines("penalties", ["penalty/"])]))
    if replicas:
        bands = {
            "loss of replicas, training: median and quartiles": "loss/train",
            "loss of replicas, validation: median and quartiles": "loss/val",
            f"{primary.title} of replicas, validation: median and quartiles": (
                f"error/val_{primary.name}"
            ),
        }
        charts = [_band(title, tag) for title, tag in bands.items()]
        categories.append(Category(title=f"Replicas, {primary.title}", chart=charts))
    content = Layout(category=categories).SerializeToString()
    tag = custom_scalars.CONFIG_SUMMARY_TAG
    return _strings(tag, [content], custom_scalars.create_summary_metadata())


def _lines(title: str, tags: Sequence[str]) -> Chart:
    return Chart(title=title, multiline=MultilineChartContent(tag=tags))


def _band(title: str, tag: str) -> Chart:
    band = MarginChartContent.Series(
        value=f"{tag}/median", lower=f"{tag}/lower_quartile", upper=f"{tag}/upper_quartile"
    )
    return Chart(title=title, margin=MarginChartContent(series=[band]))


def _session(tag: str, content: HParamsPluginData, tensor: TensorProto) -> Summary:
    metadata = hparams.create_summary_metadata(content)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _strings(tag: str, strings: Sequence[bytes], metadata: SummaryMetadata) -> Summary:
    tensor = _tensor(strings)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def _tensor(strings: Sequence[bytes]) -> TensorProto:
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=len(strings))])
    return TensorProto(dtype=DT_STRING, string_val=strings, tensor_shape=shape)
