"""Makes what components name: classes and functions by their dotted paths."""

from __future__ import annotations

import functools
import pkgutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kan_exp.config import Component, to_values
from kan_exp.errors import KanExpError, message_of
from kan_exp.options import check_options
from kan_exp.tasks import Task

if TYPE_CHECKING:
    from kan_exp.data import ExperimentData

POSITIONAL = "_args_"


def make(name: str, component: Component, **more: Any) -> Any:
    """Calls what a component names with its options and `more`; components among them come first.

    Raises:
        KanExpError: It cannot be imported, or refuses its options; the message begins with `name`.
    """
    function = locate(name, component.target)
    options = {option: _made(f"{name}.{option}", v) for option, v in component.options.items()}
    positional = options.pop(POSITIONAL, [])
    options |= more
    if component.partial:
        return functools.partial(function, *positional, **options)
    try:
        return function(*positional, **options)
    except KanExpError:
        raise
    except Exception as error:  # a user's own class may raise anything
        raise KanExpError(f"{name}: {message_of(error).rstrip('.')}.") from error


def make_data(component: Component, **more: Any) -> ExperimentData:
    """Makes a source of data; `units` are an option of all sources of this package."""
    options, units = dict(component.options), None
    if component.target.startswith("kan_exp.data."):
        units = options.pop("units", None)
        check_options("data", locate("data", component.target), to_values(options))
    data: ExperimentData = make("data", replace(component, options=options), **more)
    if units is not None:
        from kan_exp.symbolic.units import check_units

        # Columns that the training rows left out may have units, too.
        known = (*data.schema.names, *getattr(data, "constant_columns", ()))
        data.units = check_units(units, dict.fromkeys(known), "data.units")
    return data


def make_partial(name: str, component: Component) -> functools.partial[Any]:
    """A function of the arguments that the component's options leave open."""
    partial: functools.partial[Any] = make(name, replace(component, partial=True))
    return partial


def _made(name: str, value: Any) -> Any:
    if isinstance(value, Component):
        return make(name, value)
    if isinstance(value, dict):
        return {key: _made(f"{name}.{key}", item) for key, item in value.items()}
    if isinstance(value, list):
        return [_made(f"{name}[{place}]", item) for place, item in enumerate(value)]
    return value


def locate(name: str, target: str) -> Any:
    """Imports a class or function by its dotted path."""
    try:
        function = pkgutil.resolve_name(target)
    except Exception as error:  # a user's own module may raise anything
        raise KanExpError(
            f"{name}._target_={target}: cannot import it: {message_of(error).rstrip('.')}."
        ) from error
    if not callable(function):
        raise KanExpError(f"{name}._target_={target}: it is no class and no function.")
    return function


def make_checked(name: str, component: Component, kind: type, kind_name: str, **more: Any) -> Any:
    """`make`, with checks of the options by the signature, and of the type of the result.

    Raises:
        KanExpError: An option is of another type, or the result is not a `kind`.
    """
    check_options(name, locate(name, component.target), to_values(component.options))
    made = make(name, component, **more)
    _check_kind(f"{name}._target_={component.target}", made, kind, kind_name)
    return made


def _check_kind(name: str, made: Any, kind: type, kind_name: str) -> None:
    if not isinstance(made, kind):
        raise KanExpError(f"{name} must make a {kind_name}, got {type(made).__name__}.")


def make_task(component: Component) -> Task:
    """Makes the task, without torch."""
    task: Task = make("task", component)
    _check_kind(f"task._target_={component.target}", task, Task, "kan_exp.tasks.Task")
    return task
