"""The fonts of figures: DejaVu Sans, and for characters that it lacks, what the system has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from matplotlib import font_manager
from matplotlib.font_manager import FontEntry, FontProperties, findfont, fontManager
from matplotlib.ft2font import FT2Font

from kan_exp.runs.printable import escaped

BASE = "DejaVu Sans"  # comes with matplotlib
PLACEHOLDERS = ("last resort", "lastresort", "adobe blank")  # have a box for every character
MAX_NAMED = 5

log = logging.getLogger(__name__)


def installed_fonts() -> list[FontEntry]:
    """All fonts of the system, regular sans-serif ones first.

    Matplotlib's list is made once and stored: fonts installed since then are added.
    """
    known = {entry.fname for entry in fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            with suppress(Exception):  # a damaged or unsupported file raises all kinds of errors
                fontManager.addfont(path)
    return sorted(fontManager.ttflist, key=_preference)


def _preference(font: FontEntry) -> tuple[bool, int, bool, str]:
    number: object = font.weight
    if isinstance(number, str):
        number = font_manager.weight_dict.get(number)
    heavy = abs(number - 400) if isinstance(number, int) else 400
    other = any(word in font.name.lower() for word in ("serif", "mono"))
    return font.style != "normal", heavy, other, font.name


class Fonts:
    """Finds a font for every character, and looks beyond DejaVu Sans only if it lacks one.

    Args:
        installed: Gives the fonts among which to look, the preferred ones first.
    """

    def __init__(self, installed: Callable[[], Iterable[FontEntry]] = installed_fonts) -> None:
        self._installed = installed
        self._candidates: list[FontEntry] | None = None  # not yet looked for
        self._covered: dict[str, frozenset[int]] = {}  # characters of each family
        self._paths: dict[str, str] = {}
        self._absent: set[str] = set()
        self._add(BASE, findfont(BASE))

    def families(self, text: str) -> list[str]:
        """DejaVu Sans, and the other families that a text needs."""
        return list(dict.fromkeys([BASE, *map(self._family, text)]))

    def path(self, character: str) -> str:
        """The file of the font that draws a character; that of DejaVu Sans if none has it."""
        return self._paths[self._family(character)]

    def _family(self, character: str) -> str:
        code = ord(character)
        return next((name for name, codes in self._covered.items() if code in codes), BASE)

    def missing(self, text: str) -> set[str]:
        """The characters of a text that no font has; the first time, this is logged."""
        unknown = {character for character in text if not self._covers(character)}
        if unknown - self._absent:
            self._search(unknown - self._absent)
            unknown = {character for character in unknown if not self._covers(character)}
            if unknown and not self._absent:
                self._note(sorted(unknown))
            self._absent |= unknown
        return unknown

    def _covers(self, character: str) -> bool:
        return any(ord(character) in codes for codes in self._covered.values())

    def _add(self, family: str, path: str) -> None:
        self._paths[family] = path
        self._covered[family] = frozenset(FT2Font(path).get_charmap())

    def _search(self, wanted: set[str]) -> None:
        """Adds the fonts that have most of the characters."""
        if self._candidates is None:
            self._candidates = [font for font in self._installed() if _is_usable(font)]
        while wanted:
            best, most = None, 0
            for font in self._candidates:
                count = _count(font.fname, wanted)
                if count > most and _is_chosen_for_its_family(font):
                    best, most = font, count
                if most == len(wanted):
                    break
            if best is None:
                break
            self._add(best.name, best.fname)
            wanted = {character for character in wanted if not self._covers(character)}

    def _note(self, missing: list[str]) -> None:
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        log.warning(
            "Note: no installed font has %s%s: figures show the codes of such characters (%s). "
            "Install a font that has them to see them.",
            " ".join(missing[:MAX_NAMED]),
            more,
            escaped(missing[0]),
        )


def _is_usable(font: FontEntry) -> bool:
    is_placeholder = font.name.lower().startswith(PLACEHOLDERS)
    return not is_placeholder and getattr(font, "index", 0) == 0  # other faces have no own file


def _count(path: str, wanted: set[str]) -> int:
    try:
        font = FT2Font(path)
    except (OSError, RuntimeError):  # removed since matplotlib made its list, or damaged
        return 0
    return sum(font.get_char_index(ord(character)) != 0 for character in wanted)


def _is_chosen_for_its_family(font: FontEntry) -> bool:
    """Whether matplotlib takes this file when asked for the family."""
    found = findfont(FontProperties(family=[font.name]), fallback_to_default=False)
    return Path(found) == Path(font.fname)


FONTS = Fonts()
