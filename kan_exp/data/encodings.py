"""Texts in other encodings than UTF-8."""

from __future__ import annotations

import codecs
import itertools
import re
import unicodedata
from typing import NamedTuple

# Names as people and as Python know them, the most common first.
CANDIDATES = {
    "WINDOWS-1252": "cp1252",
    "GB18030": "gb18030",
    "CP932": "cp932",
    "CP949": "cp949",
    "BIG5": "big5",
    "WINDOWS-1251": "cp1251",
    "WINDOWS-1250": "cp1250",
    "WINDOWS-1253": "cp1253",
    "KOI8-R": "koi8_r",
}
MARKS = {  # longer ones first: UTF-16 begins as UTF-32
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
SAMPLE = 2**16  # bytes that are looked at
MAX_READINGS = 3
MAX_LETTERS = 20
WORD_ENDS = re.compile(r"[\s,;|\t\"'()\[\]/_.:-]+")
JAPANESE = ("HIRAGANA", "KATAKANA", "CJK")
# The smaller encodings of the characters that most texts have.
COMMON = {"gb18030": "gb2312", "cp949": "euc_kr", "cp932": "shift_jis"}


class Reading(NamedTuple):
    """A word of a text in one of the encodings that it may have."""

    encoding: str
    word: str


def to_utf8(data: bytes) -> tuple[bytes, str]:
    """A text in UTF-8, and the name of the encoding that it had; empty if that is no text.

    UTF-8 has no name if a mark does not show it.
    """
    if marked := _marked(data):
        try:
            text = data.decode(marked).lstrip("\ufeff")
        except UnicodeDecodeError:
            return data, ""
        if not any(ord(letter) < 32 and not letter.isspace() for letter in text[:SAMPLE]):
            return text.encode(), marked
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        data.decode()
        return data, "UTF-8"
    except UnicodeDecodeError:
        likely = readings(data)
    if not likely or b"\0" in data[:SAMPLE]:
        return data, ""
    return data.decode(CANDIDATES[likely[0].encoding], errors="replace").encode(), likely[
        0
    ].encoding


def _marked(data: bytes) -> str | None:
    """The encoding that a text's first bytes or its zero bytes show; None if they do not."""
    start = data[:SAMPLE]
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    even, odd = start[::2].count(0), start[1::2].count(0)
    if max(even, odd) < max(1, len(start) / 8):
        return None
    return "UTF-16LE" if odd > even else "UTF-16BE"


def readings(data: bytes) -> list[Reading]:
    """The first word that is not ASCII, in the encodings that fit best, the best one first.

    Most texts are valid in several encodings. One fits if its words are letters of one script.
    """
    lines = data[: 2**20].splitlines(keepends=True)
    data = b"".join(line for line in lines if not line.isascii())[:SAMPLE]
    scored = []
    for name, codec in CANDIDATES.items():
        try:
            text = codecs.getincrementaldecoder(codec)().decode(data)
        except UnicodeDecodeError:
            continue
        if words := [word for word in WORD_ENDS.split(text) if not word.isascii()]:
            oddity = sum(_oddity(word, codec) for word in words) / sum(map(len, words))
            scored.append((oddity, Reading(name, words[0][:MAX_LETTERS])))
    scored.sort(key=lambda pair: pair[0])
    likely = [reading for oddity, reading in scored if oddity <= 2 * scored[0][0] + 0.1]
    return likely[:MAX_READINGS]


def _oddity(word: str, codec: str) -> int:
    """Counts what is unusual in a word: other characters than letters, rare ones, mixed scripts."""
    odd = sum(not (letter.isascii() or letter.isalpha()) for letter in word)
    odd += sum(_is_rare(letter, codec) for letter in word)
    accented = sum(not letter.isascii() and _script(letter) == "LATIN" for letter in word)
    odd += accented if accented == len(word) > 2 else 0  # Latin words have plain letters, too
    for before, after in itertools.pairwise(filter(str.isalpha, word)):
        odd += _script(before) != _script(after)
        odd += before.islower() and after.isupper()
    return odd


def _script(letter: str) -> str:
    script = unicodedata.name(letter, "").partition(" ")[0]
    return "CJK" if script in JAPANESE else script


def _is_rare(letter: str, codec: str) -> bool:
    try:
        letter.encode(COMMON.get(codec, codec))
    except UnicodeEncodeError:
        return True
    return unicodedata.name(letter, "").startswith("HALFWIDTH")
