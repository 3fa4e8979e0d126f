"""Other names of options and configs: old ones, which print the new ones, and short ones."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins import file_config_source
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from omegaconf import OmegaConf

from kan_exp.runs import option_name

OPTIONS = {
    "refine.keep": "refine.num_candidates",
    "refine.wiggle": "refine.init_noise_std",
    "refine.fade": "refine.penalty_decay",
}
# Groups of options that are switched as a whole: `explain=true` is `explain.enabled=true`.
SWITCHES = {"explain": "enabled"}
# By group and old name.
CONFIGS = {
    ("experiment", f"seed_{name}"): f"baseline_{name}"
    for name in ("mlp_2_1_1", "mlp_2_5_1", "interpo_2_1_1", "interpo_2_5_1")
}
# What a text must contain to hold an old name.
HINTS = (*{name.rpartition(".")[2] for name in OPTIONS}, *{name for _, name in CONFIGS}, *SWITCHES)


@functools.cache
def note(old: str, new: str) -> None:
    """Prints the new name, once in a command."""
    print(f"Note: {old} is now called {new}.", file=sys.stderr)  # noqa: T201


def renamed_options(arguments: Sequence[str]) -> list[str]:
    """Overrides with the new and full names of options and configs."""
    return [_override(text) for text in arguments]


def _override(text: str) -> str:
    if not any(hint in text for hint in HINTS):
        return text
    signs = text[: len(text) - len(text.lstrip("+~"))]
    name, (_, equals, value) = option_name(text), text.partition("=")
    value = _text(name, value)
    if name in SWITCHES and re.fullmatch(r"\w+(,\w+)*", value) and value != "null":
        name = f"{name}.{SWITCHES[name]}"
    for old, new in OPTIONS.items():
        group, _, option = old.rpartition(".")
        if name == group:  # refine={keep:[8]}
            pattern = rf"(?<=[{{,])(\s*){option}(?=\s*:)"
            value = _replace(pattern, rf"\1{new.rpartition('.')[2]}", value, old, new)
    return f"{signs}{_option(name)}{equals}{value}"


def renamed_config(value: Any, group: str = "", path: str = "") -> Any:
    """A configuration in plain containers with the new names.

    They may be options, keys of a search's space, entries of a defaults list, or references.
    `group` is that of the config, `path` the full name of a part of it.
    """
    if isinstance(value, Mapping):
        renamed = {}
        for key, item in value.items():
            name = str(key)
            full = f"{path}.{name}".lstrip(".")
            if full in SWITCHES and isinstance(item, bool):
                item = {SWITCHES[full]: item}
            if full in OPTIONS:
                key = _option(full).rpartition(".")[2]
            elif name in OPTIONS or "=" in name:
                key = _override(name)
            renamed[key] = renamed_config(item, group, full)
        return renamed
    if isinstance(value, list):
        return [renamed_config(item, group, path) for item in value]
    if not isinstance(value, str):
        return value
    if path == "defaults":  # `- NAME` or `- /GROUP/NAME`
        return _text(value.lstrip("/").rpartition("/")[0] or group, value)
    # Of `override /experiment` in a defaults list, and of `hydra.sweeper.params.experiment`.
    return _text(re.split(r"[ ./]", path)[-1], value)


def _option(name: str) -> str:
    if name not in OPTIONS:
        return name
    note(name, OPTIONS[name])
    return OPTIONS[name]


def _text(option: str, value: str) -> str:
    """A value with the new names of the configs of a group, or of options in references."""
    for (group, old), new in CONFIGS.items():
        if option == group:
            value = _replace(rf"\b{old}\b", new, value, f"{group}={old}", f"{group}={new}")
    if "${" in value:
        for old, new in OPTIONS.items():
            value = _replace(rf"(?<![\w.]){re.escape(old)}(?![\w.])", new, value, old, new)
    return value


def _replace(pattern: str, new_text: str, value: str, old: str, new: str) -> str:
    replaced, count = re.subn(pattern, new_text, value)
    if count:
        note(old, new)
    return replaced


class FileConfigSource(file_config_source.FileConfigSource):
    """Hydra's reader of YAML files; gives the new names to what they set.

    Hydra registers its sources again in the workers of joblib and Ray. It keeps one that is there
    already if it has the same name.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        result = super().load_config(config_path)
        path = Path(self.path, self._normalize_file_name(config_path))
        text = path.read_text(encoding="utf-8")
        if any(hint in text for hint in HINTS):
            plain = OmegaConf.to_container(result.config, resolve=False)
            group = config_path.rpartition("/")[0]
            result.config = OmegaConf.create(renamed_config(plain, group))
        return result


def rename_in_files() -> None:
    """Lets Hydra read YAML files by this `FileConfigSource`."""
    Plugins.instance()  # registers Hydra's own
    SourcesRegistry.instance().types["file"] = FileConfigSource
