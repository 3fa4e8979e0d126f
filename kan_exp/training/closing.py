"""The end of a run's output: the table of results, and advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kan_exp.data import ExperimentData
from kan_exp.quoting import shell
from kan_exp.runs.identity import group_name
from kan_exp.runs.results import INCOMPLETE
from kan_exp.tasks import Task
from kan_exp.tasks.metrics import LINEAR, TEST, title
from kan_exp.tasks.numbers import metric_texts, near_one, number

Metrics = Mapping[str, Any]

MAX_AGREEMENTS = 4
CUT_SHORT = (*INCOMPLETE, "pruned")
FOUND = 0.999  # R2 from which on a noise-free function counts as found
# How many times farther from the median than 99% of the values the farthest value of a
# heavy-tailed target lies. Of 10,000 values: of x**9 once, of 1/x a hundred times.
FAR = 10
# Largest share of the squared error that one point in a thousand may have.
MAX_SHARE = 0.5
MIN_POINTS = 1000
# An additive model of smooth edges, which on noisy tables does not fall behind a linear model.
SMOOTH = ("layer=spline", "refine.grids=[4]", "penalty.roughness=1")
# Options of the run that are left out when these are set.
REPLACED = (
    *("layer", "layers", "optimizer", "scheduler", "trainer", "callbacks", "gradient", "refine"),
    *("penalty", "dims", "replicas", "steps", "batch_size", "compile"),
    *("evaluations", "log_every_n_steps"),
)


def result_rows(metrics: Metrics, task: Task, max_steps: int) -> list[tuple[str, str]]:
    """Names and texts of the table, the metrics of the test points first.

    Args:
        metrics: The content of metrics.json.
        task: By which they were measured.
        max_steps: Steps of the whole run.
    """
    steps = f"{metrics['steps']:,}"
    best = metrics["best_step"]
    kept = f"the best on validation, of step {best:,}" if best else "the start"
    if metrics["stopped"] != "steps":
        steps += f" of {max_steps:,}, {metrics['stopped']}"
    return [
        *(
            (title(TEST + metric.name), text)
            for metric, text in metric_texts(task.metrics, metrics)
        ),
        *_agreement_row(metrics["edge_r2"]),
        *_replicas_row(metrics.get("replicas"), task),
        ("parameters", f"{metrics['parameters']:,}"),
        ("steps", f"{steps}; kept {kept}"),
        ("seconds", f"{metrics['train_seconds']:.1f}"),
    ]


def _agreement_row(agreements: Mapping[str, float]) -> list[tuple[str, str]]:
    """Edges against the true ones: all if they are few, else the best and the worst."""
    if not agreements:
        return []
    shown = sorted(agreements, key=lambda name: -agreements[name])
    if len(shown) > MAX_AGREEMENTS:
        shown = [shown[0], shown[-1]]
    text = ", ".join(f"{name} {near_one(agreements[name])}" for name in shown)
    ends = " (best, worst)" if len(shown) < len(agreements) else ""
    return [("true edges", f"R² {text}{ends}")]


def _replicas_row(replicas: Metrics | None, task: Task) -> list[tuple[str, str]]:
    """How the test errors of seeds trained together are spread."""
    if replicas is None:
        return []
    diverged = f"{len(replicas['diverged'])} of {replicas['count']} diverged"
    if replicas["median"] is None:
        return [("replicas", diverged)]
    names = ("median", "lower_quartile", "upper_quartile", "best", "worst")
    middle, low, high, best, worst = (number(replicas[name]) for name in names)
    text = (
        f"{title(task.judged_by)} median {middle} (quartiles {low} to {high}), best {best}, "
        f"worst {worst}"
    )
    return [("replicas", f"{text}; {diverged}; kept seed {replicas['kept_seed']}")]


def advice(
    metrics: Metrics,
    task: Task,
    data: ExperimentData,
    errors: torch.Tensor,
    arguments: Sequence[str] | None,
) -> list[str]:
    """Lines about the limits of a result, and what may improve it.

    Args:
        metrics: The content of metrics.json.
        task: By which they were measured.
        data: What was trained on.
        errors: Of the test points, `(n, 1)`.
        arguments: Command line that repeats the run, if there is one.
    """
    if metrics["stopped"] in CUT_SHORT:
        return []
    if data.noise_free:
        lines = [_about_missing(metrics, data)]
    else:
        lines = [
            _about_noise(metrics),
            *_about_linear(metrics, task, len(data.features), arguments),
        ]
    return [line for line in lines if line] or _about_few_points(errors)


def _about_missing(metrics: Metrics, data: ExperimentData) -> str:
    """Says that a noise-free function was not found, and what may help."""
    r2 = metrics.get("test_r2")
    values = torch.cat([data.train.y, data.test.y]).double().flatten().numpy()
    if (values == values[0]).all():
        return (
            f"The target is {values[0]:.4g} at all points: there is nothing to learn. Change "
            "target.formula or target.domain."
        )
    if r2 is None or r2 >= FOUND:
        return ""
    left = f"it leaves {100 * (1 - r2):.3g}% of the variance unexplained"
    if r2 < 0:
        left = "its error is larger than that of the mean of the values"
    distances = np.abs(values - np.median(values))
    if distances.max() > FAR * np.quantile(distances, 0.99):
        least, low, high, most = np.quantile(values, [0, 0.005, 0.995, 1])
        return (
            f"This run did not find the function: {left}. The values range from {least:.3g} to "
            f"{most:.3g}, but 99% of them lie between {low:.3g} and {high:.3g}: a few points "
            f"make up most of the error, whatever the seed. Narrow the domain (target.domain) to "
            f"where the values do not go so far."
        )
    return (
        f"This run did not find the function: {left}. Try another seed, more steps or other dims."
    )


def _about_noise(metrics: Metrics) -> str:
    """Says that the training ended because of overfitting."""
    if metrics["stopped"] != "overfitting":
        return ""
    return (
        f"Overfitting: the network began to follow the noise of the training points, so the "
        f"training ended early; the network of step {metrics['best_step']:,} is kept."
    )


def _about_linear(
    metrics: Metrics, task: Task, width: int, arguments: Sequence[str] | None
) -> list[str]:
    """Says that a linear model does as well, and how to try a smoother network."""
    own, linear = metrics[task.judged_by], metrics[LINEAR + task.primary.name]
    if linear is None or (own is not None and own < linear):
        return []
    said = f"The test error is not below that of a linear model ({number(linear)})"
    options = (*SMOOTH, f"dims=[{width},1]")
    experiment = [text for text in arguments or () if group_name(text) == "experiment"]
    if arguments is None or experiment:  # which may set what does not go with these
        place = f" in the place of what {experiment[0]} sets" if experiment else ""
        return [
            f"{said}. On noisy data, try smoother edges and no hidden units: "
            f"{' '.join(options)}{place}."
        ]
    if {*options} <= {text.replace(" ", "") for text in arguments}:
        return [f"{said}: the data may hold no more than that."]
    return [
        f"{said}. On noisy data, try smoother edges and no hidden units:",
        f"  {_with_options(arguments, options)}",
    ]


def _with_options(arguments: Sequence[str], options: Sequence[str]) -> str:
    """The command of the run with other options of network and training."""
    kept = [text for text in arguments if group_name(text) not in REPLACED]
    return f"python -m kan_exp.train {shell(*kept, *options)}"


def _about_few_points(errors: torch.Tensor) -> list[str]:
    """Says that a few points make up most of the test error, whose standard error is then rough."""
    squares = errors.double().square().flatten()
    few = len(squares) // 1000
    if len(squares) < MIN_POINTS or not squares.isfinite().all() or squares.sum() == 0:
        return []
    share = float(squares.topk(few).values.sum() / squares.sum())
    if share <= MAX_SHARE:
        return []
    points = "1 test point makes" if few == 1 else f"{few:,} of {len(squares):,} test points make"
    return [
        f"Note: {points} up {100 * share:.0f}% of the squared error: on other test points the "
        f"RMSE may differ by more than its standard error says."
    ]
