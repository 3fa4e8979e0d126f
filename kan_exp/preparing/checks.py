"""Checks of a configuration that need no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, cast

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import check_additions
from kan_exp.config import TrainConfig, check_numbers, uses_least_squares
from kan_exp.data.checks import check_batch_size, check_whole
from kan_exp.errors import KanExpError, closest
from kan_exp.preparing.groups import check_groups
from kan_exp.preparing.keys import check_shared, deciding_texts, texts
from kan_exp.preparing.networks import check_network
from kan_exp.preparing.sources import check_missing, check_source, uses_target
from kan_exp.preparing.tasks import make_task
from kan_exp.runs.identity import OBSERVERS, group_name

# Their configs list every option, so that none can be added.
CLOSED_GROUPS = ("layer", "target", "data", "task", "penalty")
NOWHERE = object()
TO_HYDRA = re.compile(r"\$\{hydra:([\w.]+)\}")


def check(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> None:
    """Checks a configuration.

    Args:
        cfg: The composed configuration.
        overrides: What the user typed.
        choices: The choice of every group.

    Raises:
        KanExpError: An option is unknown, out of range, or does not go with another.
    """
    check_groups(cfg)
    check_additions(overrides, CLOSED_GROUPS)
    check_new_options(cfg, overrides, choices)
    check_least_squares(cfg)
    check_missing(cfg)
    check_numbers(cfg)
    check_shared(cfg)
    check_batch_size(cfg.batch_size)
    make_task(cfg)
    check_figures(cfg)
    useless = [text for text in overrides if group_name(text) == "target"]
    if useless and not uses_target(cfg):
        raise KanExpError(
            f"{useless[0]} has no effect with data={choices['data']}, which brings its own values: "
            f"leave one of the two out."
        )
    check_network(cfg, check_source(cfg, choices))


def check_new_options(cfg: DictConfig, overrides: Sequence[str], choices: Iterable[str]) -> None:
    """Refuses new options at the top, as by `+sed=1`, to which nothing refers.

    Args:
        cfg: The composed configuration.
        overrides: What the user typed.
        choices: The groups of configs.

    Raises:
        KanExpError: One has no effect.
    """
    known = [field.name for field in fields(TrainConfig)]
    added = [text for text in overrides if text.startswith("+")]
    new = {group_name(text): text for text in added if group_name(text) not in (*known, *choices)}
    new = {name: text for name, text in new.items() if name in cfg}  # not a group's first choice
    if not new:
        return
    hydra = cast("dict[str, Any]", OmegaConf.to_container(cast(DictConfig, HydraConfig.get())))
    hydra.pop("overrides")  # in which each added option stands itself
    written = [*texts(OmegaConf.to_container(cfg)), *texts(hydra)]
    references = " ".join(text for text in written if "${" in text)
    for name, text in new.items():
        if not re.search(rf"(?<!\w)(?<!\w\.){re.escape(name)}(?!\w)", references):
            meant = closest(name, known)
            hint = f"Did you mean {text.lstrip('+').replace(name, meant, 1)}?" if meant else ""
            raise KanExpError(
                f"{text}: there is no such option, and nothing refers to it (${{{name}}}): leave "
                f"it out. {hint}".rstrip()
            )


def check_figures(cfg: DictConfig) -> None:
    """Checks options of figures, which are drawn once the training is over.

    Raises:
        KanExpError: One is out of range.
    """
    for name, one in cfg.callbacks.items():
        if one is not None and one._target_ == OBSERVERS["figures"]:
            for option, least in (("moments", 0), ("points", 1)):
                check_whole(f"callbacks.{name}.{option}", one.get(option), least)


def check_least_squares(cfg: DictConfig) -> None:
    """Checks that options of gradient descent are not combined with `optimizer=lm`.

    Raises:
        KanExpError: One of them is set.
    """
    if uses_least_squares(cfg) and (cfg.scheduler or cfg.batch_size is not None or cfg.compile):
        raise KanExpError(
            "optimizer=lm takes all points at once: it needs scheduler=none, batch_size=null and "
            "compile=false. Set these, or optimizer=adam"
        )


def check_references(cfg: DictConfig) -> None:
    """Resolves every reference, so that one to nothing is told before anything is imported.

    Raises:
        KanExpError: A reference to Hydra's own configuration finds nothing there.
        OmegaConfBaseException: Another reference cannot be resolved.
    """
    hydra = cast(DictConfig, HydraConfig.get())
    for text in deciding_texts(cfg):
        for name in TO_HYDRA.findall(text):
            # Hydra's resolver gives null for it, which means something else to many an option.
            if OmegaConf.select(hydra, name, default=NOWHERE) is NOWHERE:
                hint = ": only jobs of a sweep have one" if name in ("job.num", "job.id") else ""
                raise KanExpError(f"{text} refers to Hydra's {name}, which is not there{hint}.")
    OmegaConf.to_container(cfg, resolve=True)
