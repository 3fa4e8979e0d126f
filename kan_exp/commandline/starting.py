"""Checks at the start of a run or a sweep, before anything is written."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

from hydra.experimental.callback import Callback
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kan_exp.commandline.explain import USER_ERRORS, one_line
from kan_exp.errors import KanExpError
from kan_exp.quoting import shell, typed
from kan_exp.runs import hold, option_name, release
from kan_exp.runs.folders import occupied_by
from kan_exp.runs.printable import printable
from kan_exp.runs.traces import remember

OUR_SWEEPERS = "kan_exp.sweeps.sweeper"
CONFIGURATION = ".hydra"  # where a run's folder keeps its configuration
RESUMED = "resumed_run"  # the primary config of a run that is resumed in its folder


def fail(line: str) -> NoReturn:
    """Prints an error and exits with 1."""
    # What a user or a file has named may hold anything, and must not steer the terminal.
    shown = "\n".join(map(printable, line.split("\n")))
    print(f"Error: {shown}", file=sys.stderr)  # noqa: T201
    sys.exit(1)


class FreshFolder(Callback):
    """Refuses folders that hold another run's results, and sweepers that keep no record.

    Hydra turns exceptions of callbacks into warnings, so that these exit by themselves.
    """

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if text := _override(config, "hydra.sweep.dir"):
            run = shell(text.replace("sweep", "run", 1))
            fail(f"{shell(text)} has no effect on a single run: write {run}, or add -m.")
        folder = _folder(config, "run")
        if folder is None or config.hydra.job.config_name == RESUMED:
            return
        _check_subfolder(config)
        # The lock comes first, so that no other process can finish a run between the check and it.
        try:
            hold(folder)
            reason = occupied_by(folder)
            remember(folder)
        except USER_ERRORS as error:
            fail(one_line(error))
        if reason:
            release(folder)
            resume = f", or resume it: {typed('resume', folder)}" if "checkpoints" in reason else ""
            fail(f"{folder} holds {reason}: set hydra.run.dir=... to another{resume}.")

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if text := _override(config, "hydra.run.dir"):
            sweep = shell(text.replace("run", "sweep", 1))
            fail(f"{shell(text)} has no effect on a sweep: write {sweep}.")
        try:
            sweeper = get_class(config.hydra.sweeper._target_)
        except Exception:  # noqa: BLE001 - Hydra says what is wrong with it
            return
        if not any(base.__module__ == OUR_SWEEPERS for base in sweeper.__mro__):
            choice = config.hydra.runtime.choices.get("hydra/sweeper")
            fail(
                f"hydra/sweeper={choice} keeps no record of its jobs, from which the table is "
                "made: leave it out to run every combination, or add search=... to let Optuna "
                "choose."
            )
        _check_subfolder(config)
        _folder(config, "sweep")


def _override(config: DictConfig, option: str) -> str | None:
    """The override that sets one of Hydra's options, if it was typed."""
    overrides: list[str] = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)  # type: ignore[assignment]
    return next((text for text in overrides if option_name(text) == option), None)


def _folder(config: DictConfig, kind: str) -> Path | None:
    """The folder of a run or a sweep; None if it cannot be resolved, which Hydra reports."""
    try:
        folder = Path(config.hydra[kind].dir)
    except OmegaConfBaseException:
        return None
    if "${" in str(folder.absolute()):
        fail(
            f"{folder.absolute()}: a folder's name must not hold '${{', which Hydra reads as a "
            f"reference: set hydra.{kind}.dir=..., and work in another folder."
        )
    return folder


def _check_subfolder(config: DictConfig) -> None:
    """Refuses to store the configuration in a folder where other commands do not look for it."""
    subfolder = config.hydra.output_subdir
    if subfolder != CONFIGURATION:
        given = "null" if subfolder is None else subfolder
        fail(
            f"hydra.output_subdir={given}: resume=..., --from and reports read a run's "
            f"configuration in {CONFIGURATION}: leave this out."
        )


def check_unused(folder: Path) -> None:
    """Refuses a folder with the results of another run, or files of the same names."""
    if reason := occupied_by(folder):
        raise KanExpError(f"{folder} holds {reason}: give another folder.")
