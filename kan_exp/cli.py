"""How every command starts, and how it ends when it cannot go on: with one line."""

from __future__ import annotations

import gc
import importlib
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import (
    HydraException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException, ValidationError

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.runs import run_name

if TYPE_CHECKING:
    from kan_exp.training.model import KANModel

FULL_ERROR = "HYDRA_FULL_ERROR"
RESUMED = "resumed_run"  # the primary config of a run that goes on in its folder
MENDABLE = (KanExpError, HydraException, OmegaConfBaseException, OSError)


def config_folder() -> str:
    """The folder of the configs: inside the package when installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    inside = package / "conf"
    return str(inside if inside.is_dir() else package.parent / "conf")


def run_command(
    config_name: str,
    task: Callable[[DictConfig], None],
    read: Callable[[list[str]], tuple[str, list[str]]] | None = None,
) -> NoReturn:
    """Runs a command's task under Hydra and leaves the program.

    Whatever a user can mend becomes one line on stderr and exit code 1; with HYDRA_FULL_ERROR=1 in
    the environment it stays a traceback. Ctrl-C exits with 130, unless jobs of a sweep have failed.

    Args:
        config_name: The primary config in `conf`.
        task: What to do with the composed configuration.
        read: Takes what is not for Hydra off the arguments, and may name another primary config.
    """
    # Importing makes a great many objects that stay; to look for garbage among them over and over
    # takes a fifth of that time. Commands that go on to make garbage call `imports_are_done`.
    gc.disable()
    traceback_wanted = os.environ.get(FULL_ERROR) == "1"
    # Hydra would print several lines and exit; with this set it raises, and the line is ours.
    os.environ[FULL_ERROR] = "1"

    def guarded(cfg: DictConfig) -> None:
        try:
            task(cfg)
        except MENDABLE as error:
            # In a sweep the other jobs go on; Hydra raises what happened at the end.
            if traceback_wanted or HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            _fail(error)

    OmegaConf.register_new_resolver("run_name", _run_name, replace=True)
    _replace_plugins_configs()
    try:
        if read is not None:
            config_name, sys.argv[1:] = read(sys.argv[1:])
        sys.argv[1:] = quote_formulas(flags_first(sys.argv[1:]))
        command = hydra.main(
            version_base="1.3", config_path=config_folder(), config_name=config_name
        )
        command(guarded)()
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)  # noqa: T201
        sys.exit(128 + signal.SIGINT)
    except MENDABLE as error:
        if traceback_wanted:
            raise
        _fail(error)
    sys.exit(0)


def _run_name(began: str, *, _root_: DictConfig) -> str:
    """The name of a run's folder, for its place in the configuration."""
    return run_name(began, as_typed(_root_.hydra.overrides.task))


def as_typed(overrides: Sequence[str]) -> list[str]:
    """Hydra's lists of overrides as plain texts, as they were typed.

    What an override refers to may not be there yet, and may be a secret.
    """
    return cast("list[str]", OmegaConf.to_container(cast(ListConfig, overrides), resolve=False))


def imports_are_done() -> None:
    """Looks for garbage again, but not among what is there already, which stays to the end.

    Copies of this process then share that memory, too. Does nothing a second time, nor in a program
    that is not one of our commands.
    """
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _replace_plugins_configs() -> None:
    """Takes away what plugins have stored under the names that conf/hydra has configs for.

    Hydra would merge each with ours, and warn that this is deprecated.
    """
    Plugins.instance()  # finds them all, and they store what they have
    for path in Path(config_folder(), "hydra").glob("*/*.yaml"):
        ConfigStore.instance().repo["hydra"].get(path.parent.name, {}).pop(path.name, None)


def _fail(error: BaseException) -> NoReturn:
    print(f"Error: {one_line(error)}", file=sys.stderr)  # noqa: T201
    sys.exit(1)


def one_line(error: BaseException) -> str:
    """Says in one line what went wrong and, where it can be told, what was meant."""
    cause = error.__cause__
    if isinstance(error, KanExpError):
        return str(error)
    if isinstance(cause, KanExpError):
        return str(cause)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error)
    if isinstance(error, OverrideParseException):
        return (
            f"cannot read the option {error.override!r}: {_first_line(error)} "
            f"(is a bracket or a quote missing?)"
        )
    for found in (error, cause):
        if isinstance(found, MissingMandatoryValue):
            return f"{found.full_key} is needed: set it with {found.full_key}=..."
        if isinstance(found, ValidationError):
            return f"{found.full_key}: {_first_line(found)}."
        if isinstance(found, OmegaConfBaseException) and found.parent_node is not None:
            return _unknown_option(found)
    if isinstance(error, InstantiationException) and cause is not None:
        where = re.search(r"full_key: (\S+)", str(error))
        return f"{where[1] if where else 'config'}: {_first_line(cause)}."
    if isinstance(error, OSError) and error.strerror:
        name = f" {error.filename}" if error.filename else ""
        return f"cannot write or read{name}: {error.strerror}.{_where_results_go()}"
    return _first_line(error)


def _where_results_go() -> str:
    if "train" not in Path(sys.argv[0]).stem:
        return ""
    many = {"-m", "--multirun"} & set(sys.argv)
    option = "hydra.sweep.dir" if many else "hydra.run.dir"
    return f" Results of a training go to {option}=..., under outputs unless set."


def _unknown_choice(error: MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or [])
    if not group:
        return f"{choice}: there is no such config."
    known = f" Choose from: {listing(options, most=20)}." if options else ""
    return f"{group}={choice}: there is no such {group}.{suggest(choice, options)}{known}"


def _unknown_option(error: OmegaConfBaseException) -> str:
    parent: Any = error.parent_node
    known = [str(key) for key in parent] if isinstance(parent, DictConfig) else []
    where = str(parent._get_full_key(None)) if isinstance(parent, DictConfig) else ""
    name = str(error.key)
    full = f"{where}.{name}" if where else name
    known = [key for key in known if key not in ("hydra", "_target_", "_partial_")]
    has = f" {where or 'There'} {'has' if where else 'are'}: {listing(known, most=20)}."
    return f"{full}: there is no such option.{suggest(name, known)}{has if known else ''}"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def flags_first(arguments: list[str]) -> list[str]:
    """Moves -m to the front: the parser would not take options on both sides of it."""
    flags = ("-m", "--multirun")
    return sorted(arguments, key=lambda argument: argument not in flags)


def quote_formulas(arguments: list[str]) -> list[str]:
    """Quotes formulas for Hydra, which would read their parentheses as calls of its own functions.

    A shell takes the quotes of `target.formula="sin(a)*b"` away. Commas outside parentheses still
    separate the formulas of a sweep.
    """
    parser = OverridesParser.create()
    quoted = []
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if equals and key.rpartition(".")[2] == "formula":
            try:
                parser.parse_override(argument)
            except HydraException:
                parts = [part.replace("\\", "\\\\").replace("'", "\\'") for part in _split(text)]
                argument = f"{key}=" + ",".join(f"'{part}'" for part in parts)
        quoted.append(argument)
    return quoted


def _split(text: str) -> list[str]:
    """Splits at the commas that stand in no parentheses."""
    parts, depth = [""], 0
    for character in text:
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def check_additions(overrides: list[str], closed: tuple[str, ...]) -> None:
    """Refuses `+group.option=...` for groups whose configs list all their options already.

    Raises:
        KanExpError: An override adds an option to a closed group.
    """
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        group, _, option = override.key_or_group.partition(".")
        if override.is_add() and option and group in closed:
            raise KanExpError(
                f"+{override.key_or_group}: {group} has no such option to add; "
                f"the options of its kinds are listed by --cfg job."
            )


def store_schema(name: str, schema: type) -> None:
    """Makes a dataclass known to Hydra under a name that a config's defaults can ask for."""
    ConfigStore.instance().store(name, schema)


class FreshFolder(Callback):
    """Keeps a run out of a folder that holds another's results, before anything is written."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if config.hydra.job.config_name == RESUMED:
            return
        folder = Path(config.hydra.run.dir)
        for name in ("metrics.json", "checkpoints"):
            if (folder / name).exists():
                # Hydra would turn an exception of a callback into a warning.
                _fail(
                    KanExpError(
                        f"{folder} holds a run already ({name}): set hydra.run.dir=... to another"
                        f"{'.' if name == 'metrics.json' else f', or go on with resume={folder}.'}"
                    )
                )


def load_model(cfg: DictConfig) -> KANModel:
    """Loads a run's network after the modules that the user names for its layer."""
    run, modules = cfg.run, list(cfg.modules)
    for name in modules:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise KanExpError(f"modules: cannot import {name!r}: {error}.") from error
    from kan_exp.training.folder import load

    imports_are_done()
    return load(run)
