"""A run's stored configuration, read from its folder to resume it or to run it again."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, cast

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from kan_exp.commandline.explain import first_line, yaml_fault
from kan_exp.commandline.renamed import renamed_config, renamed_options
from kan_exp.commandline.spelling import MULTIRUN, is_path
from kan_exp.commandline.starting import RESUMED
from kan_exp.config import TrainConfig, config_folder
from kan_exp.errors import KanExpError
from kan_exp.preparing.compatibility import complete, read_yaml
from kan_exp.preparing.targets import check_targets
from kan_exp.quoting import expand_home, literal, read_path, shell, typed, word
from kan_exp.runs import changes, is_running, no_run, option_name, read_status, versions
from kan_exp.runs.folders import is_run
from kan_exp.runs.results import read_metrics

HYDRA_ENTRIES = ("command", "search")  # entries of conf/train.yaml's defaults that configure Hydra
REPEATED = "repeated_run"
LAST = "checkpoints/last.ckpt"
UNREADABLE = (YAMLError, OmegaConfBaseException, TypeError, KeyError, AttributeError, ValueError)


class Stored(NamedTuple):
    """The configuration of a run in plain containers, references unresolved."""

    config: dict[str, Any]
    overrides: list[str]
    choices: dict[str, str]


def from_folder(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Reads `resume=FOLDER`, or `--from FOLDER`, off a command line.

    Hydra then takes the run's stored configuration in the place of conf/train.yaml.

    Returns:
        The primary config, and the arguments that are left for Hydra.

    Raises:
        KanExpError: The folder is no such run, or its configuration is not to be trusted.
    """
    rest = list(arguments)
    if "--from" in rest:
        place = rest.index("--from")
        if place + 1 == len(rest):
            raise KanExpError("--from needs the folder of a run: --from outputs/<date>/<run>.")
        rest[place : place + 2] = [f"--from={rest[place + 1]}"]
    resumed, source = _pop_option(rest, "resume="), _pop_option(rest, "--from=")
    if resumed is None and source is None:
        return "train", rest
    folder = expand_home(read_path(cast(str, source if resumed is None else resumed)))
    modules = [
        name for name in (_pop_option(rest, "modules=") or "").strip("[]").split(",") if name
    ]
    if resumed is None:
        return REPEATED, _repeat(folder, rest, modules)
    # A new location of the data is an exception: their content is checked later.
    names = {text: option_name(text) for text in rest if "=" in text}
    moved = [text for text, name in names.items() if name.startswith("data.") and is_path(name)]
    other = [text for text in rest if text not in moved]
    if source is not None or other:
        raise KanExpError(
            f"{typed('resume', folder)} resumes with the run's own options, so that "
            f"{(other or ['--from'])[0]!r} cannot be set: leave it out, or make a new "
            f"run with --from {shell(word(folder))}."
        )
    stored = _without(read_stored(folder, modules), rest)
    check_unfinished(folder)
    _register_config(RESUMED, stored, {"run": {"dir": literal(str(folder))}, "output_subdir": None})
    return RESUMED, rest


def _pop_option(arguments: list[str], prefix: str) -> str | None:
    """Removes the arguments that begin so; gives the rest of the last one."""
    taken = [text for text in arguments if text.startswith(prefix)]
    arguments[:] = [text for text in arguments if text not in taken]
    return taken[-1].removeprefix(prefix) if taken else None


def _without(stored: Stored, overrides: Sequence[str]) -> Stored:
    """Removes stored overrides that are set again on the command line."""
    names = {option_name(text) for text in overrides}
    kept = [text for text in stored.overrides if option_name(text) not in names]
    return stored._replace(overrides=kept)


def _repeat(folder: Path, rest: list[str], modules: Sequence[str]) -> list[str]:
    """Registers a run's configuration for a new run, or a sweep over it."""
    stored = read_stored(folder, modules)
    _check_groups(rest)
    status = read_status(folder)
    for line in changes(status.versions, versions()) if status and status.versions else []:
        print(f"Note: {line}", file=sys.stderr)  # noqa: T201
    stored = _without(stored, rest)
    origin = []
    if set(MULTIRUN) & set(rest):  # Hydra would add the run's overrides to those of each job
        stored = stored._replace(overrides=[])
        origin = [f"--from={folder.resolve()}"]
        if modules:
            origin.append(f"modules=[{','.join(modules)}]")
    _register_config(REPEATED, stored, {}, origin)
    return rest


def read_stored(folder: Path, modules: Sequence[str] = ()) -> Stored:
    """Reads how a run was made; for `modules` see `check_targets`.

    Raises:
        KanExpError: The folder is missing or no run's, or its configuration is not to be trusted.
    """
    if not folder.is_dir() or not is_run(folder):
        raise KanExpError(no_run(folder))
    hydra = folder / ".hydra"
    try:
        config, overrides, about = (
            read_yaml(hydra / f"{name}.yaml") for name in ("config", "overrides", "hydra")
        )
        choices = about["hydra"]["runtime"]["choices"].items()
        config = {str(name): value for name, value in renamed_config(config).items()}
        config.pop("sweep", None)  # what -m did with its jobs is not this job's
        if isinstance(callbacks := config.get("callbacks"), dict):
            callbacks.pop("pruning", None)  # the search that it reported to is over, or another's
        stored = Stored(
            config,
            renamed_options([str(text) for text in overrides]),
            {str(group): str(name) for group, name in choices if "/" not in group and name},
        )
    except FileNotFoundError as error:
        raise KanExpError(
            f"{folder}: it is not known how this run was made ({error.filename} is not there)."
        ) from error
    except UNREADABLE as error:
        reason = yaml_fault(error) if isinstance(error, MarkedYAMLError) else first_line(error)
        raise KanExpError(
            f"{folder}: its configuration cannot be read ({reason.rstrip('.')})."
        ) from error
    known = {field.name for field in fields(TrainConfig)}
    if unknown := sorted(stored.config.keys() - known):
        raise KanExpError(f"{hydra / 'config.yaml'}: there is no option {unknown[0]!r}.")
    try:
        check_targets(stored.config, modules)
    except KanExpError as error:
        raise KanExpError(f"{folder}: {error}") from error
    return stored


def check_unfinished(folder: Path) -> None:
    """Refuses to resume a run that is done, or that another process is still running."""
    status = read_status(folder)
    # Processes of other machines are unknown. The lock decides between two at the same moment.
    if status is not None and status.is_here and is_running(status):
        raise KanExpError(
            f"{folder}: process {status.pid} is still running: stop it first (kill {status.pid})."
        )
    if (ended := how_it_ended(folder)) is not None:
        raise KanExpError(
            f"{folder}: the run is done ({ended}): make a new one with "
            f"--from {shell(word(folder))}."
        )


def how_it_ended(folder: Path) -> str | None:
    """The reason why a run has ended; None if it can be resumed, as after a signal."""
    stopped = read_metrics(folder).get("stopped")
    return None if stopped in (None, "interrupted") else str(stopped)


def unfinished(folder: Path, key: str) -> Path | None:
    """The checkpoint from which a run is resumed.

    None where the folder holds no run with this `run_key`, one that is done, or one without a
    checkpoint.
    """
    status = read_status(folder)
    if status is None or status.key != key or how_it_ended(folder) is not None:
        return None
    checkpoint = folder / LAST
    return checkpoint if checkpoint.is_file() else None


def _check_groups(overrides: Sequence[str]) -> None:
    """Refuses another choice of a group: a stored configuration has its choices' options only."""
    for text in overrides:
        group, equals, _ = text.lstrip("+~").partition("=")
        if equals and group in ("experiment", "search"):
            raise KanExpError(
                f"{text} sets much at once that --from keeps as the run had it: leave one of the "
                f"two out."
            )
        if equals and group.isidentifier() and (Path(config_folder()) / group).is_dir():
            raise KanExpError(
                f"{text}: --from keeps the run's own {group}; options of it can be changed "
                f"({group}.<option>=...)."
            )


def _register_config(
    name: str, stored: Stored, hydra: dict[str, Any], origin: Sequence[str] = ()
) -> None:
    """Makes a stored configuration one that Hydra finds by name.

    Hydra's own part is that of conf/train.yaml, and what the run did is its own.
    """
    base = cast(DictConfig, OmegaConf.load(Path(config_folder()) / "train.yaml"))
    plain = cast("dict[str, Any]", OmegaConf.to_container(base, resolve=False))
    defaults = [
        entry
        for entry in plain.pop("defaults")
        if (next(iter(entry)) if isinstance(entry, dict) else entry)
        in ("train_schema", "_self_", *HYDRA_ENTRIES)
    ]
    del plain["hydra"]
    if added := complete(stored.config, plain):
        print(f"Note: new since then: {', '.join(added)}", file=sys.stderr)  # noqa: T201
    about = OmegaConf.merge(
        base.hydra,
        {"overrides": {"task": stored.overrides}, "runtime": {"choices": stored.choices}},
        hydra,
    )
    config = OmegaConf.merge(plain, stored.config, {"sweep": {"origin": list(origin)}})
    node = {"defaults": defaults, **cast("dict[str, Any]", OmegaConf.to_container(config))}
    ConfigStore.instance().store(name, {**node, "hydra": OmegaConf.to_container(about)})
