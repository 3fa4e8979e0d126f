"""Names in figures: drawn literally, and shortened or wrapped to fit."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from typing import TypeVar

from PIL import ImageFont, features

from kan_exp.plots.fonts import FONTS
from kan_exp.plots.style import DPI
from kan_exp.runs.printable import escaped, printable

UNNAMED = "(unnamed)"
MAX_MARKS = 3  # combining marks of one letter; more would pile up into other texts
JOINERS = "\u200c\u200d"  # invisible, but letters are joined by them
# Text runs from left to right even if it begins with a name that does not.
DIRECTION = "ltr" if features.check("raqm") else None  # without it Pillow knows no other
_CODE = r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"
_CODE_OR_CHARACTER = re.compile(f"{_CODE}|.", re.DOTALL)
_WORD = re.compile(r"[^\s._/,=:|-]*[\s._/,=:|-]?")

Item = TypeVar("Item", bound=Hashable)


@lru_cache(maxsize=4096)
def literal(name: str) -> str:
    r"""The text that is drawn for a name.

    Control characters, and characters that no font has, become their codes, such as `\n` or
    `\u6e29`; invisible ones are left out.
    """
    kept = _visible(name)
    missing = FONTS.missing(kept)
    shown = (_code(character) if character in missing else character for character in kept)
    return "".join(shown).strip(f" {JOINERS}") or UNNAMED


def find_fonts(names: Iterable[str]) -> None:
    """Looks for the fonts of many names at once; one after the other takes long."""
    FONTS.missing("".join(map(_visible, names)))


def _visible(name: str) -> str:
    """A name without invisible characters, in one line."""
    kept: list[str] = []
    marks = 0
    for character in printable(unicodedata.normalize("NFC", name)):
        category = unicodedata.category(character)
        marks = marks + 1 if category in ("Mn", "Me") else 0
        if marks <= MAX_MARKS and (category != "Cf" or character in JOINERS):
            kept.append(" " if category == "Zs" else character)
    return "".join(kept)


def _code(character: str) -> str:
    is_selector = unicodedata.name(character, "").startswith("VARIATION SELECTOR")
    return "" if is_selector or character in JOINERS else escaped(character)


@lru_cache(maxsize=64)
def font(path: str, points: float) -> ImageFont.FreeTypeFont:
    """A font in a size, for Pillow."""
    return ImageFont.truetype(path, points * DPI / 72)


def runs(text: str, points: float) -> Iterator[tuple[ImageFont.FreeTypeFont, str]]:
    """The parts of a text that one font draws, with that font."""
    for path, characters in groupby(text, FONTS.path):
        yield font(path, points), "".join(characters)


@lru_cache(maxsize=4096)
def text_width(text: str, points: float) -> float:
    """Width of a line of literal text, in pixels."""
    return sum(used.getlength(part, direction=DIRECTION) for used, part in runs(text, points))


def shorten(name: str, width: float, points: float) -> str:
    """A name, literally; if it exceeds a width in pixels, its middle is left out."""
    text = literal(name)
    if text_width(text, points) <= width:
        return text
    letters = _letters(text)
    fits, too_many = 0, len(letters)
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if text_width(_cut(letters, middle), points) <= width:
            fits = middle
        else:
            too_many = middle
    return _cut(letters, fits)


def _cut(letters: Sequence[str], kept: int) -> str:
    head, tail = (kept + 1) // 2, kept // 2
    return f"{''.join(letters[:head]).rstrip()}…{''.join(letters[len(letters) - tail :]).lstrip()}"


def _letters(text: str) -> list[str]:
    """Parts that stay whole: letters with their marks, joined letters, codes."""
    letters: list[str] = []
    for part in _CODE_OR_CHARACTER.findall(text):
        is_mark = unicodedata.category(part[0]).startswith("M") or part in JOINERS
        if letters and (is_mark or letters[-1][-1] in JOINERS):
            letters[-1] += part
        else:
            letters.append(part)
    return letters


def distinct(items: Sequence[Item], name: Callable[[Item, float], str], points: float) -> list[str]:
    """A short name for each item; different items with the same short name are numbered.

    `name` makes it from the item and the width that is reserved for a number, in pixels.
    """
    short = {item: name(item, 0.0) for item in items}
    count = Counter(short.values())
    number: Counter[str] = Counter()
    for item, shown in short.items():
        if count[shown] > 1:
            number[shown] += 1
            mark = f" ({number[shown]})"
            short[item] = name(item, text_width(mark, points)) + mark
    return [short[item] for item in items]


def shorten_all(names: Sequence[str], width: float, points: float) -> list[str]:
    """Shortens each name; different names stay different."""
    find_fonts(names)
    return distinct(names, lambda name, used: shorten(name, width - used, points), points)


def wrap(name: str, width: float, points: float, lines: int) -> str:
    """A name in at most so many lines, broken where words end; the last is shortened if needed."""
    text = literal(name)
    if text_width(text, points) <= width:
        return text
    rows: list[str] = []
    for part in re.split(r"(?<= )(?=\()", text):
        rows.append("")
        for word in _WORD.findall(part):
            if rows[-1] and text_width((rows[-1] + word).rstrip(), points) > width:
                rows.append("")
            rows[-1] += word
    rows[lines - 1 :] = ["".join(rows[lines - 1 :])] if len(rows) >= lines else []
    return "\n".join(shorten(row, width, points) for row in rows)
