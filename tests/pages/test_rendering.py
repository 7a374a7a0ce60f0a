from __future__ import annotations

import base64
import io
import re

import numpy as np
from PIL import Image

from delineate.pages import (
    Card,
    Line,
    Mark,
    Row,
    Section,
    Tile,
    bar,
    card,
    details,
    figure,
    figures,
    heat_table,
    legend,
    paragraph,
    picture_rows,
    plot_lines,
    render_page,
    table,
    tiles,
    with_code,
)
from delineate.pages.rendering import data_address

EVIL = "<b onclick='x'>&\"</b>"


def test_every_block_escapes_its_text() -> None:
    black = np.zeros((2, 2, 3), np.uint8)
    drawing = plot_lines(EVIL, EVIL, EVIL, [], marks=[Mark(0.2, 0.2, EVIL)])
    blocks = [
        paragraph(EVIL),
        details(EVIL, paragraph(EVIL)),
        tiles([Tile(EVIL, EVIL, EVIL)]),
        figures([figure(drawing, EVIL, legend({EVIL: (0, 0, 0)}))]),
        table(EVIL, [EVIL], [[EVIL]]),
        table("bars", ["a", "b"], [["a", bar(0.5, EVIL)]]),
        heat_table(EVIL, EVIL, [EVIL], np.asarray([[1]])),
        picture_rows([EVIL], [Row(EVIL, [black], EVIL)]),
    ]
    page = render_page(EVIL, [Section(EVIL, blocks)], lead=EVIL)
    assert "<b " not in page
    assert "onclick='" not in page
    assert page.count("&lt;b onclick") >= 20


def test_a_page_has_what_an_offline_page_needs() -> None:
    page = render_page("Title", [Section("One", []), Section("Two", [])])
    assert page.startswith("<!DOCTYPE html>")
    assert '<html lang="en">' in page
    assert "default-src 'none'" in page
    assert "script-src 'none'" in page
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert re.findall(r'href="(.*?)"', page) == ["#section-1", "#section-2"]
    assert "http:" not in page
    assert "https:" not in page


def test_pictures_survive_the_way_into_the_page() -> None:
    rng = np.random.default_rng(0)
    mask = rng.integers(0, 2, (30, 20, 1), dtype=np.uint8).repeat(3, axis=2) * 200
    photo = np.clip(rng.normal(120, 5, (30, 20, 3)), 0, 255).astype(np.uint8)
    for picture, kind, tolerance in ((mask, "png", 0), (photo, "jpeg", 25)):
        head, _, content = data_address(picture).partition(",")
        assert head == f"data:image/{kind};base64"
        back = np.asarray(Image.open(io.BytesIO(base64.b64decode(content))))
        assert np.abs(back.astype(int) - picture).max() <= tolerance


def test_heat_table_shows_shares_of_rows_and_counts() -> None:
    block = heat_table("caption", "corner", ["a", "b"], np.asarray([[900, 100], [0, 0]]))
    assert "90.0 %" in block
    assert "10.0 %" in block
    assert block.count("–") == 2
    assert block.count("strong") == 1
    assert 'class="step-18 strong"' in block


def test_a_bar_without_a_score_is_text() -> None:
    assert bar(None, "none") == "none"
    assert 'width="25.0"' in bar(0.25, "0.25")


def test_lines_stay_small_and_inside() -> None:
    x = np.linspace(0, 1, 20_000)
    y = np.where(x < 0.01, np.nan, x**2)
    drawing = plot_lines("t", "x", "y", [Line(x, y, (255, 0, 0))], has_diagonal=True)
    points = re.search(r'points="(.*?)"', drawing)
    assert points is not None
    pairs = [tuple(map(float, pair.split(","))) for pair in points[1].split()]
    assert 100 < len(pairs) < 1500
    assert pairs[-1] == (366, 30)
    assert all(46 <= across <= 366 and 30 <= down <= 276 for across, down in pairs)
    assert "#ff0000" in drawing
    assert 'class="guide"' in drawing


def test_many_lines_differ_in_more_than_colour() -> None:
    line = Line(np.asarray([0, 1]), np.asarray([0, 1]), (1, 2, 3))
    assert '"7 3"' in plot_lines("t", "x", "y", [line] * 12)
    assert '"7 3"' not in plot_lines("t", "x", "y", [line] * 5)


def test_cards_escape_their_text_and_set_code() -> None:
    lines = [("Why:", with_code("`a < b` is <b>no</b> tag")), ("", "plain <i>")]
    html = card(Card("name <x>", "error", lines, "error", "finding-1"), [paragraph("under it")])
    assert '<article class="card error" id="finding-1">' in html
    assert "name &lt;x&gt;" in html
    assert "<code>a &lt; b</code> is &lt;b&gt;no&lt;/b&gt; tag" in html
    assert "plain &lt;i&gt;" in html
    assert "<p>under it</p>" in html
