"""Modules that are imported when a name of theirs is first asked for."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any


class _Lazy(ModuleType):
    """A module that is imported when a name of it is first asked for."""

    def __getattr__(self, name: str) -> Any:
        return getattr(importlib.import_module(self.__name__), name)


if TYPE_CHECKING:
    import polars as polars
else:
    polars = _Lazy("polars")  # which most commands do without


def attach(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Makes the `__getattr__` of a package.

    `modules` maps public names to the modules that define them. A name that is not listed is looked
    for in the modules that are not listed either, so that a new file need not be named here.
    """

    def find(name: str) -> Any:
        if name in modules:
            return getattr(importlib.import_module(f"{package}.{modules[name]}"), name)
        path = importlib.import_module(package).__path__
        others = {found.name for found in pkgutil.iter_modules(path)} - {*modules.values()}
        if not name.startswith("_") and name not in others:
            for module in map(importlib.import_module, sorted(f"{package}.{n}" for n in others)):
                value = vars(module).get(name)
                if isinstance(value, type) and value.__module__ == module.__name__:
                    return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
