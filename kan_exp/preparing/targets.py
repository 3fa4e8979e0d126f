"""Checks which classes a configuration from a run's folder may call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from kan_exp.errors import KanExpError

# One class by its public name: nothing that such a module has imported, and no function.
ALLOWED_TARGETS = (
    r"kan_exp\.(data|equations|layers|optimizers|targets|tasks)",
    r"kan_exp\.(ranks\.strategy|training\.(callbacks|tensorboard))",
    r"torch\.optim(\.lr_scheduler)?",
    r"lightning\.pytorch",
)
LOGGERS = r"lightning\.pytorch\.loggers\.(CSVLogger|TensorBoardLogger)"  # others send things away
KNOWN = re.compile(rf"({'|'.join(ALLOWED_TARGETS)})\.[A-Z][A-Za-z0-9]*|{LOGGERS}")
# Other options, what Hydra knows of the run, the environment; all else could write a `_target_`.
REFERENCE = re.compile(r"\$\{((hydra:)?[\w.\[\]]*|oc\.env:[^${}]*)\}")


def check_targets(config: Any, modules: Sequence[str]) -> None:
    """Refuses a configuration that would call what is neither kan_exp's nor in `modules`.

    A run's folder is data: whoever made it must not decide what runs here. `config` is in plain
    containers, its references unresolved.
    """
    leaves = list(_leaves(config))
    for group, key, target in leaves:
        if key != "_target_":
            continue
        module = str(target).rpartition(".")[0]
        named = any(module == name or module.startswith(f"{name}.") for name in modules)
        if not named and not (isinstance(target, str) and KNOWN.fullmatch(target)):
            raise KanExpError(
                f"{group}: it would call {target!r}, which is not kan_exp's: if you trust it, "
                f"add modules=[{module or target}]."
            )
    for group, key, value in leaves:
        if isinstance(value, str) and "${" in REFERENCE.sub("", value):
            option = f"{group}.{key}".lstrip(".")
            raise KanExpError(f"{option}: {value!r} is more than a reference to another option.")


def _leaves(config: Any, path: str = "") -> Iterator[tuple[str, str, Any]]:
    """The path of each leaf's container, its key and its value."""
    items = config.items() if isinstance(config, dict) else enumerate(config)
    for key, value in items:
        if isinstance(value, dict | list):
            yield from _leaves(value, f"{path}.{key}".lstrip("."))
        else:
            yield path, str(key), value
