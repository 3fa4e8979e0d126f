"""Starts every command, and ends it on an error with one line."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import hydra
from hydra._internal.hydra import Hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf

from kan_exp.commandline.arguments import (
    check_choices,
    check_config_name,
    check_removals,
    chosen_configs,
    own_folders,
    spelled,
)
from kan_exp.commandline.explain import USER_ERRORS, lacks_memory, one_line
from kan_exp.commandline.own_configs import OwnConfigs
from kan_exp.commandline.renamed import note, rename_in_files
from kan_exp.commandline.starting import fail
from kan_exp.config import TrainConfig, config_folder
from kan_exp.errors import KanExpError, suggest
from kan_exp.runs import asks_version, option_name, run_name, version_text
from kan_exp.runs.folders import find_checkpoint
from kan_exp.terminal import fault_of_stdout, steady_streams, use_utf8_names

if TYPE_CHECKING:
    from kan_exp.models.model import KANModel

FULL_ERROR = "HYDRA_FULL_ERROR"
# Exceptions raised in these packages, whatever their type, are faults of a configuration.
COMPOSERS = ("hydra.", "omegaconf.", "yaml.", "antlr4.")
NEAR = 5  # innermost frames that are looked at for exceptions of Python itself
MODE_OPTIONS = ("search", "hydra.mode")  # options that may set `hydra.mode`
# Hydra copies its store for each composition, and for each group that `--help` lists; what it loads
# from the store is a copy anyway.
ConfigStore.__deepcopy__ = lambda self, memo: self  # type: ignore[attr-defined]


def run_command(
    config_name: str,
    task: Callable[[DictConfig], None],
    read: Callable[[list[str]], tuple[str, list[str]]] | None = None,
) -> NoReturn:
    """Runs a command's task under Hydra and leaves the program.

    An error that the user can mend is one line on stderr and exit code 1; with HYDRA_FULL_ERROR=1
    in the environment it is a traceback. Ctrl-C exits with 130, unless jobs of a sweep have failed.

    Args:
        config_name: The primary config in `conf`.
        task: What to do with the composed configuration.
        read: Takes what is not for Hydra off the arguments, spells the rest for it, and may name
            another primary config.
    """
    use_utf8_names()
    steady_streams()
    logging.raiseExceptions = False  # a log that cannot be written does not end a run
    # To look for garbage among imported objects, which stay, takes a fifth of the time of imports.
    # Commands that make garbage later call `resume_gc`.
    gc.disable()
    traceback_wanted = os.environ.get(FULL_ERROR) == "1"
    # Hydra would print several lines and exit; with this set it raises, and the line is ours.
    os.environ[FULL_ERROR] = "1"

    def guarded(cfg: DictConfig) -> None:
        try:
            task(cfg)
        except USER_ERRORS as error:
            # In a sweep the other jobs continue; Hydra raises what happened at the end.
            if traceback_wanted or hydra_config().mode == RunMode.MULTIRUN:
                raise
            fail(one_line(error))

    note.cache_clear()
    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    _replace_plugins_configs()
    rename_in_files()
    if asks_version(sys.argv[1:]):
        print(version_text())  # noqa: T201
        sys.exit(0)
    try:
        if read is None:
            sys.argv[1:] = spelled(sys.argv[1:])
        else:
            config_name, sys.argv[1:] = read(sys.argv[1:])
        check_config_name(sys.argv[1:], config_name, Path(config_folder()))
        check_removals(sys.argv[1:])
        check_choices(sys.argv[1:], Path(config_folder()))
        command = hydra.main(
            version_base="1.3", config_path=config_folder(), config_name=config_name
        )
        with _composing_once(sys.argv[1:]):
            command(guarded)()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(128 + signal.SIGINT)
    except Exception as error:
        if traceback_wanted or not is_user_error(error):
            raise
        fail(_fault_of_own_configs(error) or one_line(error))
    if fault := fault_of_stdout():
        fail(f"not all of the output could be written: {fault.strerror}.")
    sys.exit(0)


@contextmanager
def _composing_once(arguments: Sequence[str]) -> Iterator[None]:
    """Skips Hydra's additional composition, by which it looks up `hydra.mode`, if possible."""
    look_up = Hydra.get_mode
    if not own_folders(arguments) and not {*map(option_name, arguments)} & {*MODE_OPTIONS}:
        Hydra.get_mode = lambda *_, **__: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        Hydra.get_mode = look_up  # type: ignore[method-assign]


def is_user_error(error: Exception) -> bool:
    """Whether a user can mend the cause of an exception: a configuration, files, folders."""
    if isinstance(error, USER_ERRORS) or lacks_memory(error):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [str(frame.f_globals.get("__name__")) for frame in frames]
    if modules[-1:] == ["logging.config"]:  # or the folder's log cannot be opened
        return isinstance(error, ValueError)
    # The innermost frame may be Python's: a decoder, or wherever recursion met its limit.
    near = NEAR if isinstance(error, UnicodeError | RecursionError | KeyError) else 1
    return any(module.startswith(COMPOSERS) for module in modules[-near:])


def _fault_of_own_configs(error: Exception) -> str | None:
    """The fault of a user's own config, which Hydra's message may not show; None without one."""
    if isinstance(error, KanExpError) or isinstance(error.__cause__, KanExpError):
        return None
    options = [field.name for field in fields(TrainConfig)]
    try:
        configs = OwnConfigs(own_folders(sys.argv[1:]), Path(config_folder()), options)
        return configs.fault(chosen_configs(sys.argv[1:]))
    except Exception:  # noqa: BLE001 - the error itself is shown instead
        return None


def _run_name(began: str, *, _root_: DictConfig) -> str:
    """The name of a run's folder, for its place in the configuration."""
    return run_name(began, as_typed(_root_.hydra.overrides.task))


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Hydra's lists of overrides as plain texts, as they were typed.

    What an override refers to may not be there yet, and may be a secret.
    """
    return cast("list[str]", OmegaConf.to_container(cast(ListConfig, overrides), resolve=False))


def hydra_config() -> DictConfig:
    """Hydra's part of the configuration of the running job; nothing else reads Hydra's global."""
    return cast(DictConfig, HydraConfig.get())


def resume_gc() -> None:
    """Enables garbage collection, without the objects that exist already.

    Forks of this process then share their memory, too. Does nothing a second time, nor in a program
    that is not one of our commands.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _replace_plugins_configs() -> None:
    """Removes what plugins have stored under the names that conf/hydra has configs for.

    Hydra would merge each with ours, and warn that this is deprecated.
    """
    Plugins.instance()  # finds them all, and they store what they have
    for path in Path(config_folder(), "hydra").glob("*/*.yaml"):
        ConfigStore.instance().repo["hydra"].get(path.parent.name, {}).pop(path.name, None)


def check_names(cfg: DictConfig, command: str, known: Iterable[str]) -> None:
    """Refuses new options, as by `+nothing=1`, that a command has not."""
    known = list(known)
    for name in sorted(set(map(str, cfg)) - set(known)):
        raise KanExpError(f"+{name}: {command} has no such option.{suggest(name, known)}")


def check_given(cfg: DictConfig, *names: str) -> None:
    """Refuses null for options that a command needs."""
    for name in names:
        if cfg[name] is None:
            raise KanExpError(f"{name} is needed: set it with {name}=...")


@cache
def store_schema(name: str, schema: type) -> None:
    """Makes a dataclass known to Hydra under a name that a config's defaults can ask for."""
    ConfigStore.instance().store(name, schema)


def load_model(run: str, modules: Iterable[str]) -> KANModel:
    """Loads a run's network, after the modules that its layers need.

    That there is one is checked before torch is imported, which takes seconds.
    """
    find_checkpoint(run)
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise KanExpError(f"modules: cannot import {name!r}: {error}.") from error
    from kan_exp.models.loading import load_from, model_from

    resume_gc()
    return load_from(run, model_from)
