"""The task of a configuration: chosen, or recognized from the target without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kan_exp.config import (
    ARRAYS,
    EQUATION,
    TABLE,
    Component,
    RunConfig,
    RunContext,
    choice,
    config_folder,
)
from kan_exp.data.checks import sklearn_schema
from kan_exp.errors import KanExpError
from kan_exp.preparing.sources import SKLEARN, problem_of, training_rows
from kan_exp.tasks.metrics import CLASSES, ESTIMATE, H1, RESIDUAL

if TYPE_CHECKING:
    from kan_exp.data.schema import Schema
    from kan_exp.tasks import Task

AUTO = "kan_exp.tasks.Auto"


def with_task(config: RunConfig, context: RunContext) -> tuple[RunConfig, RunContext]:
    """Replaces `task=auto` by the task that the target asks for; does nothing for others."""
    task = recognize_task(config.task, config.data)
    choices = dict(context.choices)
    if ("task" in choices and task is not config.task) or choices.get("task") == "auto":
        choices["task"] = _name(task)
    return replace(config, task=task), replace(context, choices=choices)


def recognize_task(task: Component, data: Component) -> Component:
    """The task itself, or the one that the data ask for if it is `task=auto`."""
    if task.target != AUTO:
        return task
    classes, outputs = _about_target(data)
    name = "classification" if classes else "regression"
    if data.target == EQUATION:
        name = "equation"
    found = choice("task", name)
    given = {option: value for option, value in task.options.items() if value is not None}
    for option in given:
        if option not in found.options:
            raise KanExpError(f"task.{option} is no option of task={name}, which the target has.")
    if given.keys() & {"metrics", "primary"}:
        pass
    elif name == "equation":
        problem = problem_of(data.options)
        if not problem.has_exact:
            given |= {"metrics": [ESTIMATE, RESIDUAL], "primary": RESIDUAL}
        elif problem.reference is not None:  # which has no derivatives
            given["metrics"] = [one for one in found.options["metrics"] if one != H1]
    elif outputs > 1:
        given["primary"] = "r2"  # which has no unit that one of the outputs could dominate
    return Component(found.target, {**found.options, **given})


def note_on_task(task: Component, schema: Schema) -> str:
    """A line about the task that was recognized; empty if it was chosen, or is regression."""
    if task.target != AUTO or not schema.classes:
        return ""
    from kan_exp.data.classes import note_on_classes

    return note_on_classes(schema)


def data_options(data: Component, task: Task) -> dict[str, Any]:
    """Options of a data source that depend on the task."""
    is_known = data.target in (TABLE, SKLEARN)
    return {"classes": task.predicts == CLASSES} if is_known else {}


def _about_target(data: Component) -> tuple[bool, int]:
    """Whether the data's output is a class, and their number of outputs."""
    if data.target in (ARRAYS, TABLE):
        schema, _ = training_rows(data)
        return bool(schema.classes), len(schema.outputs)
    if data.target == SKLEARN:
        _, classes = sklearn_schema(data.options.get("name"), data.options.get("target"))
        return bool(classes), 1
    return False, 1


def _name(task: Component) -> str:
    """The choice that makes a task: the name of its file in conf/task/."""
    for path in sorted(Path(config_folder(), "task").glob("*.yaml")):
        if choice("task", path.stem).target == task.target:
            return path.stem
    return task.target.rpartition(".")[2]
