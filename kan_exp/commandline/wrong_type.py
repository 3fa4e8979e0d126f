"""Explains values of a wrong type, which OmegaConf describes by the classes of its nodes."""

from __future__ import annotations

import re

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
MAX_CHARACTERS = 60


def wrong_type(message: str) -> str | None:
    """What an option must be and what came instead, from the first line of OmegaConf's error.

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
