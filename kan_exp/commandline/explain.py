"""Explains exceptions to the user in one line."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra import errors as hydra_errors
from omegaconf import DictConfig, OmegaConf
from omegaconf import errors as option_errors
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from kan_exp.commandline.spelling import MULTIRUN, split
from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.quoting import in_quotes, shell, unquoted

USER_ERRORS = (KanExpError, hydra_errors.HydraException, OmegaConfBaseException, OSError, YAMLError)
RESOLVERS = ("oc.env", "oc.select", "oc.decode", "oc.dict.keys", "oc.dict.values", "now", "hydra")
MAX_OPTIONS = 20
UNKNOWN_TEXT = "a reference"
# Hydra's message about a config that cannot be merged.
COMPOSING = re.compile(
    r"In '(?P<config>[^']+)': \w+ raised while composing config:\n(?P<reason>.*)"
    r"(\n\s*full_key: (?P<key>\S*))?"
)

# What a message of OmegaConf says about the type that is expected, and how a user knows it.
EXPECTED = (
    (r"converted to Integer|subclass of int\b|of type 'int'", "a whole number"),
    (r"converted to Float|subclass of float\b|of type 'float'", "a number"),
    (r"not a valid bool|subclass of bool\b|of type 'bool'", "true or false"),
    (r"to string|subclass of str\b|of type 'str'", "text"),
    (r"is not a ListConfig", "a list, in brackets"),
    (r"subclass of \w+Config\b|subclass of Dict\b|to Dict\b", "a group of options"),
)
VALUES = (
    r"Value '(.*)' of type ",
    r"Value '(.*)' is not a valid bool",
    r"Cannot convert '\w+' to string: '(.*)'$",
    r"Incompatible value '(.*)' for field",
    r"\. value: (.*)$",
)
MAX_CHARACTERS = 60  # of a value
# What torch and NumPy say where memory does not suffice.
NO_MEMORY = re.compile(
    r"can't allocate memory|out of memory|Unable to allocate|Storage size calculation overflowed",
    re.IGNORECASE,
)


def one_line(error: BaseException) -> str:
    """Explains an exception in one line, with a suggestion where possible. Never raises."""
    try:
        line = _explain(error)
        # Our own may list the failed jobs of a sweep.
        is_own = isinstance(error, KanExpError) or isinstance(error.__cause__, KanExpError)
        return line if is_own else " ".join(line.split())
    except Exception:  # noqa: BLE001 - an explanation that fails must not hide the error
        return f"{type(error).__name__}."


def lacks_memory(error: BaseException) -> bool:
    """Whether memory of this machine or of its GPU did not suffice."""
    by_torch = isinstance(error, RuntimeError) and NO_MEMORY.search(str(error)) is not None
    return by_torch or isinstance(error, MemoryError)


def _explain(error: BaseException) -> str:
    cause = error.__cause__
    for each in (error, cause):
        if isinstance(each, KanExpError):
            return str(each)
        if isinstance(each, MarkedYAMLError):
            return yaml_fault(each)
    if isinstance(error, hydra_errors.MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error)
    if isinstance(error, hydra_errors.OverrideParseException):
        return _unreadable_option(error)
    message = str(error)
    if isinstance(error, hydra_errors.ConfigCompositionException) and (
        match := COMPOSING.match(message)
    ):
        key = f"{match['key']}: " if match["key"] else ""
        return f"{match['config']}.yaml: {key}{_reason(match['reason'].strip())}."
    for each in (error, cause):
        if isinstance(each, OmegaConfBaseException) and (line := _explain_option(each)):
            return line
    if isinstance(error, hydra_errors.InstantiationException):
        place = re.search(r"full_key: (\S+)", message)
        return f"{place[1] if place else 'config'}: {first_line(cause or error).rstrip('.')}."
    for each in (error, cause):
        if isinstance(each, OSError) and (line := _explain_file(each)):
            return line
    if isinstance(error, ValueError) and _raised_in(error, "logging.config"):
        reason = f"{error}{f' ({cause})' if cause else ''}"
        return f"hydra.job_logging or hydra.hydra_logging: {reason}."
    if match := re.match(r"(Ambiguous value for argument|Sweep parameters) '(.*)'", message):
        return f"{match[2]} has several values: add -m to run each; a list is in brackets."
    if isinstance(error, KeyError) and _raised_in(error, "os"):
        return (
            f"hydra.job.env_copy: there is no environment variable {error.args[0]}: set it, or "
            f"leave it out."
        )
    if lacks_memory(error):
        wanted = re.search(r"allocate ([\d.,]+ \w+)", message)
        amount = f" for {wanted[1]} more" if wanted else ""
        return f"not enough memory{amount}: lower dims, options of the layer, points or batch_size."
    if isinstance(error, RecursionError):
        return "the configuration refers to itself without an end."
    return first_line(error)


def _reason(message: str) -> str:
    """The fault of a value, without a full stop."""
    message = message.rstrip(".")
    return wrong_type(message) or message


def _explain_option(error: OmegaConfBaseException) -> str | None:
    if isinstance(error, option_errors.MissingMandatoryValue):
        return f"{error.full_key} is needed: set it with {error.full_key}=..."
    if isinstance(
        error, option_errors.GrammarParseError | option_errors.InterpolationResolutionError
    ):
        return broken_reference(error)
    if isinstance(error, option_errors.ValidationError | option_errors.ConfigTypeError):
        return f"{error.full_key or 'the configuration'}: {_reason(first_line(error))}."
    if isinstance(error, option_errors.ConfigKeyError | option_errors.ConfigAttributeError):
        return _unknown_option(error)
    return f"{error.full_key}: {first_line(error).rstrip('.')}." if error.full_key else None


def _explain_file(error: OSError) -> str | None:
    if isinstance(error, FileNotFoundError) and not error.filename:
        try:
            Path.cwd()
        except FileNotFoundError:
            return "the current folder is no longer there: change to another (cd)."
    if not error.strerror:
        return None
    name = f" {error.filename}" if error.filename else ""
    option = "hydra.sweep.dir" if set(MULTIRUN) & set(sys.argv) else "hydra.run.dir"
    advice = f" Results of a training go to {option}=..., under outputs unless set."
    is_train = "train" in Path(sys.argv[0]).stem
    return f"cannot write or read{name}: {error.strerror}.{advice if is_train else ''}"


def _raised_in(error: BaseException, module: str) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return bool(frames) and frames[-1].f_globals.get("__name__") == module


def yaml_fault(error: MarkedYAMLError) -> str:
    """File, line and fault of a YAML file that cannot be read."""
    mark = error.problem_mark or error.context_mark
    problem = (error.problem or "it is no YAML").strip()
    if "'\\t'" in problem:
        problem = "a tab cannot indent: use blanks"
    context = f" ({error.context.strip()})" if error.context and error.problem_mark else ""
    place = "" if mark is None else f"{mark.name}, line {mark.line + 1}, column {mark.column + 1}: "
    return f"{place}{problem}{context}."


def broken_reference(error: OmegaConfBaseException) -> str:
    """Explains which option has an interpolation that cannot be resolved, and why."""
    name = str(error.full_key or error.key or "the configuration")
    text, message = _reference(error), first_line(error)
    if isinstance(error, option_errors.GrammarParseError):
        given = "what was given" if text == UNKNOWN_TEXT else text
        return f"{name}: {given} cannot be read as a reference: write it as in ${{gradient.steps}}."
    if isinstance(error, option_errors.InterpolationKeyError):
        wanted = (re.search(r"'(.*)'", message) or [message, message])[1]
        hint = suggest(wanted, _known_options(error)).replace("'", "")
        return f"{name} refers to {wanted}, which is not there.{hint}"
    if isinstance(error, option_errors.UnsupportedInterpolationType):
        wanted = message.rpartition(" ")[2]
        return f"{name}: {text}: there is no resolver {wanted!r}.{suggest(wanted, RESOLVERS)}"
    if isinstance(error, option_errors.InterpolationToMissingValueError):
        wanted = message.rpartition(": ")[2]
        return f"{name} refers to {wanted}, which is not set: set it with {wanted}=..."
    if variable := re.search(r"Environment variable '(.*)' not found", message):
        return (
            f"{name} refers to the environment variable {variable[1]}, which is not set: set it, "
            f"or write ${{oc.env:{variable[1]},default}}."
        )
    if "positional argument" in message:
        return f"{name}: {text} has too few arguments, or too many."
    if "Recursive interpolation" in message:
        return f"{name}: {text} refers back to {name} itself."
    if isinstance(error, option_errors.InterpolationValidationError):
        reason = message.partition(": ")[2] or message
        return f"{name}: {text}: {wrong_type(reason) or reason}."
    reason = message.partition("raised while resolving interpolation: ")[2] or message
    return f"{name}: {text} cannot be resolved: {reason.rstrip('.')}."


def _reference(error: OmegaConfBaseException) -> str:
    """The unresolved text of the option that an error is about."""
    parent: Any = error.parent_node
    if OmegaConf.is_config(parent):
        value = OmegaConf.to_container(parent, resolve=False)
        text = value.get(error.key) if isinstance(value, dict) else value
        if isinstance(text, str):
            return text
    return UNKNOWN_TEXT


def _known_options(error: OmegaConfBaseException) -> list[str]:
    """Every option of the configuration by its full name."""
    parent: Any = error.parent_node
    if not OmegaConf.is_config(parent):
        return []

    def names(part: Any, before: str = "") -> list[str]:
        if not isinstance(part, dict):
            return []
        return [
            name
            for key, value in part.items()
            for name in (f"{before}{key}", *names(value, f"{before}{key}."))
        ]

    options = OmegaConf.to_container(parent._get_root(), resolve=False)
    return [name for name in names(options) if name.partition(".")[0] != "hydra"]


def _unknown_choice(error: hydra_errors.MissingConfigException) -> str:
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    options = sorted(error.options or [])
    if not group:
        return f"{choice}: there is no such config."
    known = f" Choose from: {listing(options, most=MAX_OPTIONS)}." if options else ""
    return f"{group}={choice}: there is no such {group}.{suggest(choice, options)}{known}"


def _unreadable_option(error: hydra_errors.OverrideParseException) -> str:
    text = str(error.override)
    name, equals, value = text.partition("=")
    # Hydra's reason, unless it only says that the text cannot be parsed.
    reason = re.sub(
        r"^(LexerNoViableAltException: |Error parsing override ).*", "", first_line(error)
    )
    reason = f": {reason.strip()}" if reason.strip() else ""
    if not equals:
        return f"cannot read {text!r}: options are written as name=value."
    if not re.fullmatch(r"[~+]*[\w./@:-]+", name, re.ASCII):
        return f"{name}: there is no such option: names have letters, digits and dots only."
    if any(value.count(a) != value.count(b) for a, b in ("[]", "()", "{}")):
        return f"cannot read the option {text!r}{reason} (is a bracket or a quote missing?)"
    is_list = re.fullmatch(r"\[.+\]", value)
    parts = split(value[1:-1]) if is_list else [value]
    text_of = ",".join(in_quotes(unquoted(part.strip()) or part.strip()) for part in parts)
    quoted = shell(f"{name}=[{text_of}]" if is_list else f"{name}={text_of}")
    return f"cannot read the option {text!r}{reason}: if its value is text, quote it: {quoted}"


def _unknown_option(error: OmegaConfBaseException) -> str:
    parent: Any = error.parent_node
    group, known = "", []
    if isinstance(parent, DictConfig):
        group = str(parent._get_full_key(None))
        known = [str(key) for key in parent if key not in ("hydra", "_target_", "_partial_")]
    name = f"{group}.{error.key}".lstrip(".")
    swept = f"{name.partition('.')[0]}="
    if set(MULTIRUN) & set(sys.argv) and any(w.startswith(swept) and "," in w for w in sys.argv):
        typed = next((word for word in sys.argv if word.startswith(name)), f"{name}=...")
        return f"{name}: {swept}... varies in this sweep: write {shell(f'++{typed}')}"
    has = f" {group or 'There'} {'has' if group else 'are'}: {listing(known, most=MAX_OPTIONS)}."
    hint = suggest(str(error.key), known)
    return f"{name}: there is no such option.{hint}{has if known else ''}"


def first_line(error: BaseException) -> str:
    """The first non-empty line of an exception's message, or its type."""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def wrong_type(message: str) -> str | None:
    """The rule for an option and the value, from the first line of OmegaConf's error.

    None if the message is about something else.
    """
    if message.endswith("is not Optional"):
        return "must not be null"
    if message.startswith("Cannot merge"):
        return "must stay a list, or a group of options, as it is"
    rule = next((rule for pattern, rule in EXPECTED if re.search(pattern, message)), None)
    if rule is None:
        return None
    matches = (re.search(pattern, message) for pattern in VALUES)
    value = next((match[1] for match in matches if match), None)
    if value is None:
        return f"must be {rule}"
    value = "null" if value == "None" else value or "nothing"
    if len(value) > MAX_CHARACTERS:
        value = f"{value[: MAX_CHARACTERS - 3]}..."
    return f"must be {rule}, got {value}"
