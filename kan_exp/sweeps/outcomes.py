"""What has become of a sweep's jobs, read from their folders."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kan_exp.runs import Status, read_status, write_status
from kan_exp.runs.metrics import is_shared
from kan_exp.runs.results import read_metrics
from kan_exp.sweeps.jobs import Job, JobGroup
from kan_exp.tasks.metrics import higher_is_better

KILLED = "its process ended without a word: it was killed, or memory ran out."


@dataclass(frozen=True)
class Outcome:
    """What came of one job.

    Args:
        job: Which.
        state: As in `status.json`; "waiting" where it has not begun.
        reason: Why it failed.
        folder: Of its run, by its name in the sweep's folder.
        replica: Which of the run's replicas it is, if it was trained with others.
        stacked: How many were.
        seconds: Its share of the run's time.
        metrics: Its figures; none if it has not finished well.
    """

    job: Job
    state: str
    reason: str | None
    folder: str
    replica: int | None
    stacked: int
    seconds: float | None
    metrics: dict[str, Any]

    @property
    def pruned(self) -> bool:
        """Whether a search has ended it early."""
        return self.metrics.get("stopped") == "pruned"

    def figure(self, metric: str) -> float | None:
        """One of its figures, if it has it."""
        value = self.metrics.get(metric)
        return float(value) if isinstance(value, (int, float)) else None


def outcomes(stack: JobGroup) -> list[Outcome]:
    """What came of each job of a stack, as far as can be told now."""
    status = read_status(stack.folder)
    metrics = read_metrics(stack.folder) if status and status.state != "running" else {}
    count = len(stack.jobs)
    seconds = _seconds(status, metrics)
    if status is not None and status.state == "done" and not metrics:
        status = replace(status, state="failed", reason="its metrics.json cannot be read.")
    if count == 1:
        return [_outcome(stack, 0, status, None, metrics, seconds, metrics.get("stopped"))]
    replicas = metrics.get("replicas", {})
    each = {one["seed"]: one for one in replicas.get("each", [])}
    diverged = {one["seed"]: one["step"] for one in replicas.get("diverged", [])}
    shared = {
        n: value for n, value in metrics.items() if is_shared(n) or n in ("scoring", "test_points")
    }
    found = []
    for k, job in enumerate(stack.jobs):
        own = {**shared, **each[job.seed]} if job.seed in each else {}
        step = diverged.get(job.seed)
        reason = None if step is None else f"the loss became NaN or infinite at step {step:,}."
        found.append(_outcome(stack, k, status, reason, own, seconds))
    return found


def _seconds(status: Status | None, metrics: dict[str, Any]) -> float | None:
    """How long a run took, all attempts together where it went on."""
    each = [None if status is None else status.seconds, metrics.get("train_seconds")]
    known = [float(one) for one in each if isinstance(one, (int, float))]
    return max(known, default=None)


def _outcome(
    stack: JobGroup,
    k: int,
    status: Status | None,
    reason: str | None,
    metrics: dict[str, Any],
    seconds: float | None,
    stopped: object = None,
) -> Outcome:
    count = len(stack.jobs)
    state = "waiting" if status is None else status.state
    if reason is not None:
        state = "diverged"
    elif status is not None:
        reason = status.reason
        # Status files of earlier versions say "failed" of these as well.
        state = "diverged" if state == "failed" and stopped == "diverged" else state
    return Outcome(
        job=stack.jobs[k],
        state=state,
        reason=reason,
        folder=stack.folder.name,
        replica=k if count > 1 else None,
        stacked=count,
        seconds=None if seconds is None else seconds / count,
        metrics=metrics if state == "done" else {},
    )


def close(folder: Path, cut_short: bool = False) -> None:
    """Writes down what became of a run whose process is gone.

    Args:
        folder: Of the run.
        cut_short: Whether it was ended on purpose, and did not fail.

    Raises:
        OSError: It cannot be written.
    """
    status = read_status(folder)
    if status is None or status.state != "running":
        return
    if cut_short:
        write_status(folder, replace(status, state="interrupted"))
    else:
        write_status(folder, replace(status, state="failed", reason=KILLED))


def rank(outcome: Outcome, metric: str) -> tuple[bool, float]:
    """Sorts the best to the front, and what has no figure to the end."""
    figure = outcome.figure(metric)
    if figure is None:
        return True, float(outcome.job.number)
    return False, -figure if higher_is_better(metric) else figure
