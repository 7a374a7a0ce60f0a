"""The report in a real browser: Debian's Chromium without a display."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from delineate.evaluation.report import build_report
from delineate.evaluation.result import Evaluation
from delineate.pictures import ERROR_COLOURS, class_colours, error_layers

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

KINDS = ("binary", "multiclass", "multilabel")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield found
        found.close()


class Opened:
    """A report in a window, and everything that went wrong in it."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.problems.append(message.text))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(path.as_uri())
        if options.get("java_script_enabled", True):
            self.page.wait_for_selector("html[data-ready]")

    def numbers(self) -> dict[str, str]:
        return {
            cell.get_attribute("data-number"): cell.inner_text()
            for cell in self.page.query_selector_all("[data-number]")
        }

    def set_level(self, level: int) -> None:
        self.page.evaluate(
            """level => {
                const slider = document.getElementById("control-level");
                slider.value = level;
                slider.dispatchEvent(new Event("input"));
                document.querySelector("[data-example]").scrollIntoView();
            }""",
            level,
        )
        self.page.wait_for_selector("[data-example='0'] [data-view='3'] canvas")
        self.page.wait_for_timeout(300)

    def canvas(self, view: int) -> np.ndarray:
        pixels, height, width = self.page.evaluate(
            f"""() => {{
                const view = document.querySelector("[data-example='0'] [data-view='{view}']");
                const canvas = view.querySelector("canvas");
                const context = canvas.getContext("2d");
                const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
                return [Array.from(data), canvas.height, canvas.width];
            }}"""
        )
        return np.asarray(pixels, np.uint8).reshape(height, width, 4)


@pytest.fixture
def open_report(
    browser: Any, evaluation_of: Callable[..., Evaluation], tmp_path: Path
) -> Iterator[Callable[..., tuple[Opened, Evaluation]]]:
    contexts = []

    def open_it(kind: str, **options: Any) -> tuple[Opened, Evaluation]:
        evaluation = evaluation_of(kind, 4)
        path = tmp_path / "report.html"
        path.write_text(build_report(evaluation), encoding="utf-8")
        opened = Opened(browser, path, **options)
        contexts.append(opened.context)
        return opened, evaluation

    yield open_it
    for context in contexts:
        context.close()


@pytest.mark.parametrize("kind", KINDS)
def test_it_opens_without_errors_requests_or_dialogs(kind: str, open_report: Any) -> None:
    opened, _ = open_report(kind)
    assert opened.problems == []
    others = [url for url in opened.requests[1:] if not url.startswith("data:")]
    assert others == []
    heading = opened.page.inner_text("h1")
    assert "<script>alert" in heading
    assert opened.page.evaluate("document.querySelectorAll('script').length") == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_phone_shows_it_without_sideways_scrolling(
    kind: str, scheme: str, open_report: Any
) -> None:
    opened, _ = open_report(kind, viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 360
    paper = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", paper))) < 200) == (scheme == "dark")


@pytest.mark.parametrize("kind", ["binary", "multilabel"])
def test_the_slider_moves_numbers_marks_and_pictures(kind: str, open_report: Any) -> None:
    opened, evaluation = open_report(kind)
    task, scores = evaluation.scores.task, evaluation.scores
    assert opened.page.input_value("#control-level") != "0"
    before = opened.numbers()
    assert before["dice"] == f"{scores.histogram.scores_at(0, 0.4)['dice']:.3f}"
    mark = opened.page.get_attribute("[data-mark='pr-0']", "transform")
    opened.set_level(60)
    value = float(opened.page.inner_text("#control-value"))
    expected = scores.histogram.scores_at(0, value)
    assert abs(value - 0.4) > 0.05
    for name, text in opened.numbers().items():
        assert text == f"{expected[name]:.3f}"
    assert opened.page.get_attribute("[data-mark='pr-0']", "transform") != mark
    example = evaluation.examples[0]
    thresholds = [value, *(0.4 for _ in task.class_names[1:])]
    mask = task.mask(example.probs, thresholds)
    tinted = opened.canvas(2)
    marked = mask.any(axis=0) if kind == "multilabel" else mask == 1
    assert ((tinted[..., 3] > 0) == marked).all()
    solid = tinted[tinted[..., 3] == 255][:, :3]
    colours = {tuple(colour) for colour in class_colours(task.num_classes).tolist()}
    assert {tuple(colour) for colour in solid.tolist()} <= colours
    errors = opened.canvas(3)
    layers = error_layers(mask, example.target, task)
    for name in ("false alarm", "missed"):
        where = layers[name] & ~layers["wrong class"] & ~layers["ignored"]
        near = np.abs(errors[where][:, :3].astype(int) - ERROR_COLOURS[name]).max(initial=0)
        assert near <= 2, name
    assert (errors[layers["ignored"]] == [0, 0, 0, 255]).all()
    opened.page.click("#control-reset")
    assert opened.numbers() == before
    assert opened.page.get_attribute("[data-mark='pr-0']", "transform") is not None
    assert not opened.page.is_visible("[data-example='0'] [data-view='2'] canvas")
    assert opened.problems == []


def test_the_slider_of_a_multiclass_model_leaves_pixels_undecided(open_report: Any) -> None:
    opened, evaluation = open_report("multiclass")
    assert opened.numbers()["coverage"] == "1.000"
    accuracy = evaluation.scores.counts.pixel_accuracy
    assert opened.numbers()["accuracy"] == f"{accuracy:.3f}"
    opened.set_level(60)
    value = float(opened.page.inner_text("#control-value"))
    probs = evaluation.examples[0].probs
    undecided = probs.max(axis=0) < value
    shown = opened.canvas(2)
    assert 0.05 < undecided.mean() < 0.95
    assert ((shown[..., :3] == 90).all(axis=-1) == undecided).mean() > 0.995
    assert float(opened.numbers()["coverage"]) < 1
    assert opened.problems == []


def test_the_keyboard_reaches_everything(open_report: Any) -> None:
    opened, _ = open_report("binary")
    page = opened.page
    page.focus("#control-level")
    before = page.input_value("#control-level")
    page.keyboard.press("ArrowRight")
    assert page.input_value("#control-level") == str(int(before) + 1)
    assert page.get_attribute("#control-level", "aria-valuetext") == page.inner_text(
        "#control-value"
    )
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "control-reset"
    page.keyboard.press("Enter")
    assert page.input_value("#control-level") == before
    page.focus(".enlarge")
    page.keyboard.press("Enter")
    assert page.is_visible("#zoom")
    width = "document.querySelector('.zoom-stage .layers').getBoundingClientRect().width"
    first = page.evaluate(width)
    page.keyboard.press("+")
    assert page.evaluate(width) > 1.3 * first
    page.keyboard.press("4")
    pressed = page.inner_text(".zoom-tabs [aria-pressed='true']")
    assert pressed == "Errors"
    page.keyboard.press("Escape")
    assert not page.is_visible("#zoom")
    assert page.evaluate("document.activeElement.className") == "enlarge"
    assert opened.problems == []


def test_everything_that_can_be_used_or_seen_has_a_name(open_report: Any) -> None:
    opened, _ = open_report("multilabel")
    nameless = opened.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, [role=img], [role=region]")]
            .filter(e => e.closest("dialog:not([open])") === null)
            .filter(e => !(e.getAttribute("aria-label") || e.textContent.trim() ||
                           (e.labels && e.labels.length)))
            .map(e => e.outerHTML)"""
    )
    assert nameless == []
    levels = opened.page.evaluate(
        "() => [...document.querySelectorAll('h1, h2, h3')]"
        ".filter(e => !e.closest('dialog')).map(e => Number(e.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(scheme: str, open_report: Any) -> None:
    opened, _ = open_report("binary", color_scheme=scheme)
    worst = opened.page.evaluate(
        """() => {
            const parse = text => text.match(/[\\d.]+/g).map(Number);
            const light = c => { const v = c / 255;
                return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
            const luminance = ([r, g, b]) =>
                0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
            const behind = e => {
                let over = [];
                for (; e; e = e.parentElement) {
                    const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
                    if (a > 0) over.push([r, g, b, a]);
                    if (a === 1) break;
                }
                return over.reverse().reduce((under, [r, g, b, a]) =>
                    [r, g, b].map((c, i) => a * c + (1 - a) * under[i]), [255, 255, 255]);
            };
            const found = [];
            for (const e of document.querySelectorAll("body *")) {
                if (!e.checkVisibility() || e.closest("svg, dialog, :disabled")) continue;
                const isText = n => n.nodeType === 3 && n.textContent.trim();
                if (![...e.childNodes].some(isText)) continue;
                const text = luminance(parse(getComputedStyle(e).color));
                const paper = luminance(behind(e));
                const ratio = (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
                found.push([ratio, e.outerHTML.slice(0, 80)]);
            }
            return found.sort((a, b) => a[0] - b[0])[0];
        }"""
    )
    assert worst[0] >= 4.5, worst


def test_without_script_and_on_paper_the_pictures_are_there(
    open_report: Any, tmp_path: Path
) -> None:
    opened, _ = open_report("binary", java_script_enabled=False)
    page = opened.page
    assert not page.is_visible("#control")
    assert page.is_visible("[data-example='0'] [data-view='2'] img")
    page.emulate_media(media="print")
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
