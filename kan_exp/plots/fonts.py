"""The fonts of figures: DejaVu Sans, and installed fonts for characters that it lacks."""

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

    Fonts that were installed after matplotlib stored its list are added to it.
    """
    known = {entry.fname for entry in fontManager.ttflist}
    for path in font_manager.findSystemFonts():
        if path not in known:
            with suppress(Exception):  # a damaged or unsupported file raises all kinds of errors
                fontManager.addfont(path)
    return sorted(fontManager.ttflist, key=_preference)


def _preference(font: FontEntry) -> tuple[bool, int, bool, str]:
    weight: object = font.weight
    if isinstance(weight, str):
        weight = font_manager.weight_dict.get(weight)
    distance = abs(weight - 400) if isinstance(weight, int) else 400
    other = any(word in font.name.lower() for word in ("serif", "mono"))
    return font.style != "normal", distance, other, font.name


class Fonts:
    """Finds a font for every character; searches the installed ones if DejaVu Sans lacks it."""

    def __init__(self, installed: Callable[[], Iterable[FontEntry]] = installed_fonts) -> None:
        self._installed = installed
        self._candidates: list[FontEntry] | None = None  # filled by the first search
        self._family: dict[int, str] = {}  # of each character's code
        self._paths: dict[str, str] = {}  # of each family
        self._absent: set[str] = set()
        self._add(BASE, findfont(BASE))

    def _add(self, family: str, path: str) -> None:
        self._paths[family] = path
        for code in FT2Font(path).get_charmap():
            self._family.setdefault(code, family)

    def families(self, text: str) -> list[str]:
        """DejaVu Sans, and the other families that a text needs."""
        return list(dict.fromkeys([BASE, *(self._family.get(ord(c), BASE) for c in text)]))

    def path(self, character: str) -> str:
        """The file of the font that draws a character; DejaVu Sans if no font has it."""
        return self._paths[self._family.get(ord(character), BASE)]

    def missing(self, text: str) -> set[str]:
        """The characters of a text that no font has; the first time, this is logged."""
        unknown = self._unknown(text)
        if unknown - self._absent:
            self._search(unknown - self._absent)
            unknown = self._unknown(unknown)
            if unknown and not self._absent:
                _warn(sorted(unknown))
            self._absent |= unknown
        return unknown

    def _unknown(self, characters: Iterable[str]) -> set[str]:
        return {character for character in characters if ord(character) not in self._family}

    def _search(self, wanted: set[str]) -> None:
        """Adds the font that has most of the characters, until none has any."""
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
            wanted = self._unknown(wanted)


def _warn(missing: list[str]) -> None:
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
    except (OSError, RuntimeError):  # removed since matplotlib stored its list, or damaged
        return 0
    return sum(font.get_char_index(ord(character)) != 0 for character in wanted)


def _is_chosen_for_its_family(font: FontEntry) -> bool:
    """Whether matplotlib takes this file if asked for the family."""
    path = findfont(FontProperties(family=[font.name]), fallback_to_default=False)
    return Path(path) == Path(font.fname)


FONTS = Fonts()
