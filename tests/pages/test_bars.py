import re
import xml.etree.ElementTree as ET

import pytest

from delineate.pages.bars import HEIGHT, TOP, Bars, plot_bars

COLOUR = (1, 2, 3)


def tops(path):
    return [float(y) for _, y in re.findall(r"L([\d.]+),([\d.]+)", path)]


def test_bars_are_as_high_as_their_shares():
    drawing = ET.fromstring(
        plot_bars(
            "a <b>", "x", ["0", "1", "2", "3"], [Bars((1, 2, 4), COLOUR), Bars((9, 0, 0), COLOUR)]
        )
    )
    first, second = drawing.findall("path")
    heights = [HEIGHT - 44 - y for y in tops(first.get("d"))[:-1]]
    assert heights[2] / heights[0] == pytest.approx(2, rel=0.01)
    assert heights[4] / heights[0] == pytest.approx(4, rel=0.01)
    # each over its own sum: 9 of 9 is the highest of all
    assert min(tops(second.get("d"))) == TOP
    assert drawing.get("aria-label") == "a <b>"
    assert second.get("fill") == "none"


def test_nothing_counted_draws_flat_bars():
    drawing = ET.fromstring(plot_bars("none", "x", ["0", "1"], [Bars((0,), COLOUR)]))
    assert set(tops(drawing.find("path").get("d"))) == {HEIGHT - 44}
