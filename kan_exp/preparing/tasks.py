"""The task of a configuration."""

from __future__ import annotations

from hydra.utils import instantiate
from omegaconf import DictConfig

from kan_exp.errors import KanExpError
from kan_exp.tasks import Task


def make_task(cfg: DictConfig) -> Task:
    """What is minimized and measured, made without torch.

    Raises:
        KanExpError: An option is out of its range, or `task` makes something else.
    """
    task = instantiate(cfg.task, _convert_="all")
    if not isinstance(task, Task):
        raise KanExpError(
            f"task._target_={cfg.task._target_} must make a kan_exp.tasks.Task, got "
            f"{type(task).__name__}."
        )
    return task
