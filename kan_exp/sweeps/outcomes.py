"""The outcomes of a sweep's jobs, read from their folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kan_exp.runs import Status, read_status
from kan_exp.runs.results import read_metrics, seed_results
from kan_exp.sweeps.jobs import Job, JobGroup
from kan_exp.tasks.metrics import higher_is_better


@dataclass(frozen=True)
class Outcome:
    """The outcome of one job.

    Args:
        job: The job.
        state: As in `status.json`; "waiting" before it has begun.
        reason: Why it failed.
        folder: Name of its run's folder in the sweep's folder.
        replica: Its place among jobs that were trained together, None if it was alone.
        stacked: How many these are.
        seconds: Its share of the run's time.
        metrics: The entries of its result; empty unless it is done.
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

    def metric(self, name: str) -> float | None:
        """The value of a metric, None if it has none."""
        value = self.metrics.get(name)
        return float(value) if isinstance(value, (int, float)) else None


def outcomes(group: JobGroup) -> list[Outcome]:
    """The outcome of each job of a group so far."""
    status = read_status(group.folder)
    metrics = read_metrics(group.folder) if status and status.state != "running" else {}
    state = "waiting" if status is None else status.state
    reason = None if status is None else status.reason
    if state == "done" and not metrics:
        state, reason = "failed", "its metrics.json cannot be read."
    elif state == "failed" and metrics.get("stopped") == "diverged":  # as older versions wrote
        state = "diverged"
    count, seconds = len(group.jobs), _seconds(status, metrics)
    results = {result.seed: result for result in seed_results(metrics)}
    rows = []
    for replica, job in enumerate(group.jobs):
        result = results.get(job.seed) if count > 1 else None
        diverged = result is not None and result.diverged is not None
        own = metrics if count == 1 else {} if result is None else result.metrics
        rows.append(
            Outcome(
                job=job,
                state="diverged" if diverged else state,
                reason=result.diverged if result is not None and diverged else reason,
                folder=group.folder.name,
                replica=replica if count > 1 else None,
                stacked=count,
                seconds=None if seconds is None else seconds / count,
                metrics=own if state == "done" and not diverged else {},
            )
        )
    return rows


def _seconds(status: Status | None, metrics: dict[str, Any]) -> float | None:
    """The time of a run, of all its attempts together if it was resumed."""
    values = [None if status is None else status.seconds, metrics.get("train_seconds")]
    return max((float(value) for value in values if isinstance(value, (int, float))), default=None)


def sort_key(outcome: Outcome, metric: str) -> tuple[bool, float, int]:
    """Sorts the best outcome first, and those without the metric last."""
    value = outcome.metric(metric)
    if value is None:
        return True, 0.0, outcome.job.number
    return False, -value if higher_is_better(metric) else value, outcome.job.number
