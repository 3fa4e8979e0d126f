# ruff: noqa: RUF001
"""Characters that DejaVu Sans lacks: another font has them, or their codes are shown."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.font_manager import FontEntry, fontManager

from kan_exp.models.views import LayerView
from kan_exp.plots import (
    LayerFigure,
    fonts,
    labels,
    prediction_figure,
    stamps,
)
from kan_exp.plots.fonts import Fonts
from kan_exp.plots.labels import literal, shorten, shorten_all, text_width, wrap
from kan_exp.plots.style import pixels
from tests.plots.drawn import texts

OWN = 0xE123  # for private use: no font of a system should have them
OTHER = 0xE124


def forget():
    for cached in (labels.literal, labels.text_width, stamps._stamp):
        cached.cache_clear()


@pytest.fixture
def use(monkeypatch):
    """Makes figures find only the fonts in a list."""

    def only(*entries: FontEntry) -> Fonts:
        found = Fonts(lambda: entries)
        for module in ("fonts", "labels", "stamps", "style"):
            monkeypatch.setattr(f"kan_exp.plots.{module}.FONTS", found)
        forget()
        return found

    yield only
    forget()


@pytest.fixture
def boxes(tmp_path, monkeypatch):
    """A font in which one private character is a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 800), (800, 800), (800, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({OWN: "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Only Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    path = tmp_path / "squares.ttf"
    builder.save(path)
    monkeypatch.setattr(fontManager, "ttflist", list(fontManager.ttflist))
    fontManager.addfont(path)
    return fontManager.ttflist[-1]


def test_nothing_is_looked_for_where_dejavu_has_all(use, monkeypatch):
    found = use()
    monkeypatch.setattr(found, "_installed", lambda: pytest.fail("fonts were looked for"))
    for name in ("Temp", "Größe (m²)", "α → β", "цена", "درجة", "e\u0301", "$_{^\\", "\n\0"):
        literal(name)
    assert found.families("x") == ["DejaVu Sans"]


def test_a_font_that_has_the_character_draws_it(use, boxes, caplog):
    found = use(boxes)
    name = f"a{chr(OWN)}"
    assert literal(name) == name
    assert found.families(name) == ["DejaVu Sans", "Only Squares"]
    assert found.families("a") == ["DejaVu Sans"]
    ink = stamps._stamp(chr(OWN), 20.0).image[:, :, 3]
    rows, columns = np.nonzero(ink)  # the square
    height, width = np.ptp(rows), np.ptp(columns)
    assert abs(height - width) <= 1
    assert (ink[2 : height - 2, 2 : width - 2] == 255).all()
    values = np.linspace(0, 1, 9)
    figure = prediction_figure(values[:, None], values[:, None], [name], "")
    pixels(figure)  # would warn of missing glyphs
    assert f"{name}, true" in [one.text for one in texts(figure)]
    assert not caplog.records


def test_without_one_codes_are_shown_and_it_is_said_once(use, caplog):
    use()
    caplog.set_level(logging.INFO)
    assert literal("a温") == "a\\u6e29"
    assert literal("度") == "\\u5ea6"
    assert literal("\U0001f9ea") == "\\U0001f9ea"
    pixels(prediction_figure(*[np.arange(3.0)[:, None]] * 2, ["温度"], ""))
    (record,) = caplog.records
    assert record.getMessage().startswith("Note: no installed font has 温: ")


def test_a_font_that_is_gone_or_damaged_is_passed_over(use, boxes, tmp_path):
    damaged = tmp_path / "damaged.ttf"
    damaged.write_bytes(b"no font")
    use(FontEntry(fname=str(damaged)), FontEntry(fname=str(tmp_path / "gone.ttf")), boxes)
    assert literal(chr(OWN)) == chr(OWN)
    assert literal(chr(OTHER)) == "\\ue124"


def test_placeholder_fonts_do_not_count(use, boxes):
    use(FontEntry(fname=boxes.fname, name="Last Resort High-Efficiency"))
    assert literal(chr(OWN)) == "\\ue123"


def test_fonts_installed_since_matplotlib_made_its_list_are_found(boxes, monkeypatch):
    fontManager.ttflist.pop()
    monkeypatch.setattr(fonts.font_manager, "findSystemFonts", lambda: [boxes.fname, "/gone.ttf"])
    assert boxes.fname in [font.fname for font in fonts.installed_fonts()]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\ud800x", "\\ud800x"),
        ("\u202eabc", "\\u202eabc"),
        ("e\u0301", "é"),
        ("\ufeffa\u00adb", "ab"),
        ("x" + "\u0335" * 9, "x" + "\u0335" * 3),
        ("a\u3000b\u00a0c", "a b c"),
        ("", "(unnamed)"),
        (" \u200b ", "(unnamed)"),
        ("$\\alpha_{", "$\\alpha_{"),
    ],
)
def test_names_are_shown_as(name, shown):
    assert literal(name) == shown
    assert literal(shown) == shown


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.text(st.characters(), max_size=80), st.floats(20, 300))
def test_shortened_names_fit_and_keep_both_ends(name, width):
    text, short = literal(name), shorten(name, width, 9)
    assert text_width(short, 9) <= width or short == "…"
    if short != text:
        head, tail = short.split("…")[0], short.split("…")[-1]
        assert text.startswith(head.strip())
        assert text.endswith(tail.strip())
    for line in wrap(name, width, 9, lines=3).split("\n"):
        assert text_width(line, 9) <= width or line == "…"
    assert wrap(name, width, 9, lines=3).count("\n") <= 2


def test_letters_are_not_taken_apart():
    name = "a\u0335" * 200
    assert set(shorten(name, 100, 9).replace("a\u0335", "")) == {"…"}
    codes = shorten("\0" * 200, 100, 9)
    assert codes.replace("\\x00", "") == "…"


def test_different_names_stay_different():
    names = ["x" * 100, "x" * 101, "y", "x" * 100]
    short = shorten_all(names, 90, 9)
    assert short[0] == short[3] != short[1]
    assert short[2] == "y"
    assert all(text_width(one, 9) <= 90 for one in short)


def test_a_name_is_wrapped_where_its_words_end():
    assert wrap("optimizer.lr", 200, 8, lines=2) == "optimizer.lr"
    assert wrap("layer.num_intervals (layer=spline)", 198, 8, 2) == (
        "layer.num_intervals\n(layer=spline)"
    )
    first, second = wrap("one two three four five six seven", 90, 9, lines=2).split("\n")
    assert "one two three four five six seven".startswith(first)
    assert second.endswith("even")


def test_fonts_are_looked_for_once_for_all_edges_of_a_layer(use, monkeypatch, caplog):
    found = use()
    searches = []
    search = found._search
    monkeypatch.setattr(found, "_search", lambda wanted: searches.append(search(wanted)))
    names = [chr(0x6E29 + k) for k in range(30)]
    x = np.linspace(0, 1, 9)[:, None].repeat(30, 1)
    domain = np.array([[0.0, 1.0]] * 30)
    view = LayerView(1, names, ["h"], x, x[:, :, None], x, x[:, :, None], domain, x)
    pixels(LayerFigure(view).figure)
    assert len(searches) == 1
    (record,) = caplog.records
    assert "and 25 more" in record.getMessage()
