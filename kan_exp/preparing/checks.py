"""Everything that can be told of a configuration before torch is imported."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from kan_exp.cli import check_additions
from kan_exp.config import check_numbers, check_width
from kan_exp.errors import KanExpError
from kan_exp.preparing.keys import check_shared

# Their configs list every option, so that none can be added.
CLOSED_GROUPS = ("layer", "target", "data", "penalty")


def check(cfg: DictConfig, overrides: list[str], choices: dict[str, str]) -> None:
    """Refuses what makes no run.

    Args:
        cfg: The composed configuration.
        overrides: What the user typed.
        choices: The choice of every group.

    Raises:
        KanExpError: An option is unknown, out of range, or does not go with another.
    """
    check_additions(overrides, CLOSED_GROUPS)
    if uses_least_squares(cfg) and (cfg.scheduler or cfg.batch_size is not None or cfg.compile):
        raise KanExpError(
            "optimizer=lm takes all points at once: it needs scheduler=none, batch_size=null and "
            "compile=false. Set these, or optimizer=adam."
        )
    check_numbers(cfg)
    check_shared(cfg)
    if uses_target(cfg):
        target = instantiate(cfg.target)
        check_width(f"target '{choices['target']}'", target.inputs, list(cfg.dims))
        return
    useless = [text for text in overrides if text.lstrip("+~").startswith(("target=", "target."))]
    if useless:
        raise KanExpError(
            f"{useless[0]} has no effect with data={choices['data']}, which brings its own values: "
            f"leave one of the two out."
        )


def uses_least_squares(cfg: DictConfig) -> bool:
    """Whether the optimizer is Levenberg-Marquardt."""
    return bool(cfg.optimizer._target_ == "kan_exp.optimizers.LevenbergMarquardt")


def uses_target(cfg: DictConfig) -> bool:
    """Whether the data are drawn from the target that was chosen."""
    return "target" in cfg.data and OmegaConf.is_interpolation(cfg.data, "target")
