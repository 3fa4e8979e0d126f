"""References and new options of a composed configuration that lead to nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from kan_exp.config import TrainConfig
from kan_exp.errors import KanExpError, closest
from kan_exp.preparing.values import unresolved
from kan_exp.runs.identity import NON_RESULT_OPTIONS, group_name

# Their configs list every option, so that none can be added.
CLOSED_GROUPS = ("layer", "target", "data", "task", "penalty", "refine", "smoothing", "pruning")
NOWHERE = object()
TO_HYDRA = re.compile(r"\$\{hydra:([\w.]+)\}")


def check_references(cfg: DictConfig, hydra: DictConfig) -> None:
    """Checks references to Hydra's configuration, which resolve to null if there is nothing."""
    for text in _deciding_texts(cfg):
        for name in TO_HYDRA.findall(text):
            if OmegaConf.select(hydra, name, default=NOWHERE) is NOWHERE:
                hint = ": only jobs of a sweep have one" if name in ("job.num", "job.id") else ""
                raise KanExpError(f"{text} refers to Hydra's {name}, which is not there{hint}.")


def asks_hydra(cfg: DictConfig) -> bool:
    """Whether an option that decides the result refers to Hydra's own configuration."""
    return any("${" in text and "hydra" in text for text in _deciding_texts(cfg))


def check_additions(
    cfg: DictConfig, hydra: DictConfig, overrides: Sequence[str], groups: Sequence[str]
) -> None:
    """Refuses options that are added by `+` and have no effect."""
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        group, _, option = override.key_or_group.partition(".")
        if override.is_add() and option and group in CLOSED_GROUPS:
            raise KanExpError(
                f"+{override.key_or_group}: {group} has no such option to add; "
                f"the options of its kinds are listed by --cfg job."
            )
    known = [field.name for field in fields(TrainConfig)]
    added = {group_name(text): text for text in overrides if text.startswith("+")}
    # The first choice of a group is no option.
    new = {name: added[name] for name in added if name in cfg and name not in (*known, *groups)}
    if not new:
        return
    about_hydra = cast("dict[str, Any]", OmegaConf.to_container(hydra))
    about_hydra.pop("overrides")  # which has each added option itself
    references = " ".join(text for text in _texts([unresolved(cfg), about_hydra]) if "${" in text)
    for name, text in new.items():
        if not re.search(rf"(?<!\w)(?<!\w\.){re.escape(name)}(?!\w)", references):
            meant = closest(name, known)
            hint = f" Did you mean {text.lstrip('+').replace(name, meant, 1)}?" if meant else ""
            raise KanExpError(
                f"{text}: there is no such option, and nothing refers to it (${{{name}}}): leave "
                f"it out.{hint}"
            )


def _deciding_texts(cfg: DictConfig) -> Iterator[str]:
    """The texts among the options that decide the result, their references unresolved."""
    return _texts(
        [value for name, value in unresolved(cfg).items() if name not in NON_RESULT_OPTIONS]
    )


def _texts(value: Any) -> Iterator[str]:
    """All texts in nested plain containers."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value
