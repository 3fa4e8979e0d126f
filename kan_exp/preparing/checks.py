"""Checks of a configuration that need no torch."""

from __future__ import annotations

from omegaconf import DictConfig

from kan_exp.cli import check_additions
from kan_exp.config import check_numbers, uses_least_squares
from kan_exp.data.checks import check_batch_size
from kan_exp.errors import KanExpError
from kan_exp.preparing.keys import check_shared
from kan_exp.preparing.networks import check_network
from kan_exp.preparing.sources import check_missing, check_source, uses_target
from kan_exp.runs.identity import group_name

# Their configs list every option, so that none can be added.
CLOSED_GROUPS = ("layer", "target", "data", "penalty")


def check(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> None:
    """Checks a configuration.

    Args:
        cfg: The composed configuration.
        overrides: What the user typed.
        choices: The choice of every group.

    Raises:
        KanExpError: An option is unknown, out of range, or does not go with another.
    """
    check_additions(overrides, CLOSED_GROUPS)
    check_least_squares(cfg)
    check_missing(cfg)
    check_numbers(cfg)
    check_shared(cfg)
    check_batch_size(cfg.batch_size)
    useless = [text for text in overrides if group_name(text) == "target"]
    if useless and not uses_target(cfg):
        raise KanExpError(
            f"{useless[0]} has no effect with data={choices['data']}, which brings its own values: "
            f"leave one of the two out."
        )
    check_network(cfg, check_source(cfg, choices))


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
