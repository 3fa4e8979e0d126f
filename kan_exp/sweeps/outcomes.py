"""The outcomes of a sweep's jobs, read from their folders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kan_exp.runs import read_status
from kan_exp.runs.results import SeedResult, read_metrics, seed_results
from kan_exp.sweeps.jobs import Job, JobGroup
from kan_exp.tasks.metrics import to_minimize


@dataclass(frozen=True)
class Outcome:
    """The outcome of one job."""

    job: Job
    state: str  # as in `status.json`; "waiting" before it has begun
    reason: str | None  # why it failed
    folder: str  # name of its run's folder in the sweep's folder
    replica: int | None  # its place among jobs that were trained together, None if it was alone
    stacked: int  # how many these are
    seconds: float | None  # its share of the run's time
    metrics: dict[str, Any]  # of its result; empty unless it is done

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
    # That of the training is of all attempts together if the run was resumed.
    times = [None if status is None else status.seconds, metrics.get("train_seconds")]
    known = [float(value) for value in times if isinstance(value, (int, float))]
    count, results = len(group.jobs), {result.seed: result for result in seed_results(metrics)}
    rows = []
    for replica, job in enumerate(group.jobs):
        result = SeedResult(job.seed, metrics, None)
        if count > 1:
            result = results.get(job.seed, SeedResult(job.seed, {}, None))
        outcome = Outcome(
            job=job,
            state="diverged" if result.diverged else state,
            reason=result.diverged or reason,
            folder=group.folder.name,
            replica=replica if count > 1 else None,
            stacked=count,
            seconds=max(known) / count if known else None,
            metrics=result.metrics if state == "done" and not result.diverged else {},
        )
        rows.append(outcome)
    return rows


def sort_key(outcome: Outcome, metric: str) -> tuple[bool, float, int]:
    """Key that sorts the best outcome first, and those without the metric last."""
    value = outcome.metric(metric)
    if value is None:
        return True, 0.0, outcome.job.number
    return False, to_minimize(metric, value), outcome.job.number
