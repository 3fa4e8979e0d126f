"""The table of results at the end of a run, and advice."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from kan_exp.data import EquationData, ExperimentData, StreamData
from kan_exp.data.split_table import SplitTableData
from kan_exp.quoting import shell
from kan_exp.runs.identity import group_name, option_name
from kan_exp.runs.printable import printable
from kan_exp.runs.results import INCOMPLETE
from kan_exp.tasks import Task
from kan_exp.tasks.metrics import LINEAR, STANDARD_ERROR, TEST, title
from kan_exp.tasks.numbers import metric_text, metric_texts, near_one, number
from kan_exp.training.solutions import relations_row

Metrics = Mapping[str, Any]

MAX_AGREEMENTS = 4
MAX_OUTPUTS = 6
CUT_SHORT = (*INCOMPLETE, "pruned")
MIN_R2 = 0.999  # from here on a noise-free function counts as found
# A target is heavy-tailed if its farthest value is this many times as far from the median as 99% of
# its values. Of 10,000 values the ratio is 1 for x**9 and 100 for 1/x.
FAR = 10
# Largest part of the squared error that one point in a thousand may have.
MAX_SHARE = 0.5
MIN_POINTS = 1000
# Differences of float32 networks, in standard deviations of the target.
ROUNDING = 1e-5
OVERFITTING = (
    "Overfitting: the network began to follow the noise of the training points, so the training "
    "ended early; the network of step {:,} is kept."
)
# Edges as smooth as the data ask for, which are about as good as a linear model at least.
SMOOTH = ("layer=spline", "smoothing.method=reml", "dims=null")
# Options that are dropped from a command when SMOOTH is added.
REPLACED = (
    *("layer", "layers", "optimizer", "scheduler", "trainer", "callbacks", "gradient", "refine"),
    *("smoothing",),
    *("penalty", "dims", "replicas", "steps", "batch_size", "compile"),
    *("evaluations", "log_every_n_steps"),
)


def result_rows(metrics: Metrics, task: Task, max_steps: int) -> list[tuple[str, str]]:
    """Rows of the table of results, test metrics first, from the content of metrics.json."""
    steps = f"{metrics['steps']:,}"
    best = metrics["best_step"]
    kept = f"the best on validation, of step {best:,}" if best else "the start"
    if (chosen := metrics.get("chosen")) is not None:
        kept = f"{chosen}, with {metrics['effective_parameters']:.1f} effective parameters"
    if metrics["stopped"] != "steps":
        steps += f" of {max_steps:,}, {metrics['stopped']}"
    return [
        *(
            (title(TEST + metric.name), text)
            for metric, text in metric_texts(task.metrics, metrics)
        ),
        *relations_row(metrics),
        *_coefficient_rows(metrics),
        *_output_rows(metrics["outputs"]),
        *_agreement_row(metrics["edge_r2"]),
        *_replicas_row(metrics.get("replicas"), task),
        ("parameters", f"{metrics['parameters']:,}"),
        ("steps", f"{steps}; kept {kept}"),
        ("seconds", f"{metrics['train_seconds']:.1f}"),
    ]


def _coefficient_rows(metrics: Metrics) -> list[tuple[str, str]]:
    """Coefficients of a differential equation that were found."""
    return [(printable(n), f"{v:.6g}") for n, v in metrics.get("coefficients", {}).items()]


def _output_rows(outputs: Mapping[str, Mapping[str, float | None]]) -> list[tuple[str, str]]:
    """Metrics of each class or output; of too many, those with the lowest value."""
    if not outputs:
        return []
    measured = list(next(iter(outputs.values())))
    if len(measured) > 1:
        return [
            (printable(name), ", ".join(f"{title} {number(v)}" for title, v in values.items()))
            for name, values in list(outputs.items())[:MAX_OUTPUTS]
        ]
    (what,) = measured
    known = {name: v for name, values in outputs.items() if (v := values[what]) is not None}
    lowest = sorted(known, key=lambda name: known[name])[:MAX_OUTPUTS]
    parts = [f"{printable(name)} {near_one(known[name])}" for name in known if name in lowest]
    cut = f" (the lowest of {len(outputs)})" if len(lowest) < len(outputs) else ""
    return [(f"test {what}", ", ".join(parts) + cut)]


def _agreement_row(agreements: Mapping[str, float]) -> list[tuple[str, str]]:
    """R2 of the edges with known true functions: all, or the best and the worst if many."""
    if not agreements:
        return []
    shown = sorted(agreements, key=lambda name: -agreements[name])
    if len(shown) > MAX_AGREEMENTS:
        shown = [shown[0], shown[-1]]
    text = ", ".join(f"{name} {near_one(agreements[name])}" for name in shown)
    ends = " (best, worst)" if len(shown) < len(agreements) else ""
    return [("true edges", f"R² {text}{ends}")]


def _replicas_row(replicas: Metrics | None, task: Task) -> list[tuple[str, str]]:
    """Quantiles of the replicas' test errors."""
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
    errors: torch.Tensor | None,
    arguments: Sequence[str] | None,
) -> list[str]:
    """Lines about the limits of a result, and what to try next.

    Args:
        metrics: The content of metrics.json.
        task: Of the run.
        data: What was trained on.
        errors: Of the numbers at the test points, `(n, out)`; `None` if others are predicted.
        arguments: Command line that repeats the run, if there is one.
    """
    if metrics["stopped"] in CUT_SHORT or isinstance(data, EquationData):
        return []
    if data.noise_free:
        lines = [_about_missing(metrics, data)]
    else:
        lines = _about_linear(metrics, task, data, arguments)
    if metrics["stopped"] == "overfitting" and not data.noise_free:
        lines.insert(0, OVERFITTING.format(metrics["best_step"]))
    return [line for line in lines if line] or _about_few_points(errors)


def _about_missing(metrics: Metrics, data: ExperimentData) -> str:
    """Reports that a noise-free function was not learned, and what may help."""
    r2 = metrics.get("test_r2")
    values = torch.cat([data.train.y, data.test.y]).double().flatten().numpy()
    if (values == values[0]).all():
        return (
            f"The target is {values[0]:.4g} at all points: there is nothing to learn. Change "
            "target.formula or target.domain."
        )
    if r2 is None or r2 >= MIN_R2:
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


def _about_linear(
    metrics: Metrics, task: Task, data: ExperimentData, arguments: Sequence[str] | None
) -> list[str]:
    """Reports that a linear model is clearly better, and what to try next."""
    own, linear = metrics[task.judged_by], metrics[LINEAR + task.primary.name]
    error = task.primary.error
    if linear is None:
        return []
    rounding = ROUNDING
    if task.primary.in_target_units:
        rounding *= float(data.schema.decode_outputs(data.train.y).double().std())
    least = max(_standard_error(metrics, task), rounding)
    if own is not None and error(own) - error(linear) <= least:
        return []
    said = (
        f"The test {task.primary.title} is worse than that of a linear model "
        f"({metric_text(task.primary, linear)}) by more than its standard error"
    )
    options: tuple[str, ...] = SMOOTH
    advised = "On noisy data, find the smoothness of edges from the data"
    if "chosen" in metrics:
        options = ("data.folds=5",)
        advised = "It may be the split: average over folds"
        if data.num_folds or not isinstance(data, SplitTableData):
            return [f"{said}: the data may hold no more than that."]
    elif isinstance(data, StreamData):
        return [f"{said}. Try more steps, or smaller dims."]
    experiment = [text for text in arguments or () if group_name(text) == "experiment"]
    if arguments is None or experiment:  # which may set what does not go with these
        place = f" in the place of what {experiment[0]} sets" if experiment else ""
        return [f"{said}. {advised}: {' '.join(options)}{place}."]
    return [f"{said}. {advised}:", f"  {_with_options(arguments, options)}"]


def _standard_error(metrics: Metrics, task: Task) -> float:
    """Standard error of the difference between the errors of network and linear model.

    Over folds it is that of their differences; otherwise it is taken for that of the network's.
    """
    linear = LINEAR + task.primary.name
    pairs = [(one[task.judged_by], one[linear]) for one in metrics.get("folds", {}).get("each", ())]
    differences = [own - other for own, other in pairs if None not in (own, other)]
    if len(differences) > 1:
        return statistics.stdev(differences) / math.sqrt(metrics["folds"]["count"])
    return metrics.get(task.judged_by + STANDARD_ERROR) or 0.0


def _with_options(arguments: Sequence[str], options: Sequence[str]) -> str:
    """The command of the run with options added; `SMOOTH` replace its network and training."""
    dropped = REPLACED if options == SMOOTH else ()
    if any(option_name(text) == "pruning.run" for text in arguments):  # it was another run's
        dropped = (*dropped, "prune", "pruning")
    names = {option_name(text) for text in options}
    kept = [
        text
        for text in arguments
        if group_name(text) not in dropped and option_name(text) not in names
    ]
    return f"python -m kan_exp.train {shell(*kept, *options)}"


def _about_few_points(errors: torch.Tensor | None) -> list[str]:
    """Reports that a few points dominate the test error, so its standard error is rough."""
    if errors is None:
        return []
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
