from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from delineate.evaluation.evaluate import choose_examples
from delineate.evaluation.report import build_report, show
from delineate.evaluation.result import Evaluation, Example
from delineate.evaluation.scoring import LabelledImage, score_samples
from delineate.task import Task, TaskKind

HOSTILE = '<script>alert("x")</script>'


class PixelsAreProbs:
    def predict_probs(self, pixels: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        return pixels.transpose(2, 0, 1)


class Elements(HTMLParser):
    """Notes the elements of a page, and fails where they are not closed in order."""

    void = frozenset(["meta", "img", "rect", "line", "circle", "polyline", "br"])

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, Any]]:
        return [attributes for name, attributes in self.found if name == tag]


def evaluation_of(kind: TaskKind, num_images: int = 3, *, is_empty: bool = False) -> Evaluation:
    names = (HOSTILE,) if kind == "binary" else (HOSTILE, "road", "roof")
    task = Task(kind, names, background="road" if kind == "multiclass" else None)
    rng = np.random.default_rng(0)
    samples, examples = [], []
    thresholds = None if kind == "multiclass" else [0.4] * len(names)
    for index in range(num_images):
        probs = rng.dirichlet(np.ones(3), (20, 30))[..., : len(names)].astype(np.float32)
        shape = (3, 20, 30) if kind == "multilabel" else (20, 30)
        target = rng.integers(0, 3 if kind == "multiclass" else 2, shape, dtype=np.uint8)
        target[..., :3, :3] = 255
        if is_empty:
            probs, target = np.zeros_like(probs), np.zeros_like(target)
        samples.append(LabelledImage(f"{index}{HOSTILE}.png", probs, target))
    scores = score_samples(PixelsAreProbs(), samples, task, thresholds=thresholds)
    for rank, index in choose_examples([i.scores["dice"] for i in scores.images]):
        _, pixels, target, _ = samples[index]
        mask = task.mask(pixels.transpose(2, 0, 1), thresholds)
        dice = scores.images[index].scores["dice"]
        examples.append(Example(rank, samples[index].name, dice, pixels, target, mask))
    return Evaluation(
        split="test",
        data={"name": f"data{HOSTILE}", "digest": "ab"},
        model={"name": "run", "digest": None, "architecture": {"name": "unet", "in_channels": 3}},
        prediction={
            "tile_size": [32, 32],
            "overlap": 0.25,
            "blend": "gaussian",
            "postprocessing": {"opening_radius": 1, "min_hole_area": 0},
        },
        scores=scores,
        examples=tuple(examples),
        folder=Path("nowhere"),
    )


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_the_report_is_whole_offline_and_escaped(kind: TaskKind) -> None:
    page = build_report(evaluation_of(kind))
    elements = Elements()
    elements.feed(page)
    elements.close()
    assert elements.open == []
    assert elements.of("script") == []
    assert HOSTILE not in page
    assert "&lt;script&gt;" in page
    pictures = elements.of("img")
    assert len(pictures) == 3 * 4
    assert all(picture["src"].startswith("data:image/") for picture in pictures)
    assert all(picture["alt"] for picture in pictures)
    links = [v for _, a in elements.found for k, v in a.items() if k in ("href", "src")]
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not re.search(r"url\(|@import|https?:", page)
    drawings = [drawing for drawing in elements.of("svg") if drawing.get("role") == "img"]
    assert len(drawings) == (3 if kind == "multiclass" else 4)
    assert all(drawing["aria-label"] for drawing in drawings)
    assert not re.search(r"\b(?:nan|None|inf)\b", re.sub(r"data:[^\"]+", "", page))


def test_headline_numbers_are_those_of_the_scores() -> None:
    evaluation = evaluation_of("binary")
    page = build_report(evaluation)
    pooled, per_image = evaluation.scores.pooled, evaluation.scores.per_image
    assert f'<dd class="value">{show(pooled["dice"])}</dd>' in page
    assert f"mean over images {show(per_image['dice'])}" in page
    assert "opening radius 1" in page
    assert "hole" not in page


def test_nothing_but_empty_images_still_gives_a_report() -> None:
    page = build_report(evaluation_of("binary", is_empty=True))
    assert "3 images are empty in truth and prediction" in page
    assert "No image has foreground" in page
    assert page.count("true-empty") >= 3


def test_many_images_are_folded() -> None:
    assert "All 30 images" in build_report(evaluation_of("binary", 30))
    assert "All 3 images" not in build_report(evaluation_of("binary", 3))


def test_the_mean_iou_names_its_background() -> None:
    page = build_report(evaluation_of("multiclass"))
    assert "mIoU without background" in page
    assert "; with background " in page
    assert "mIoU, all classes" in build_report(evaluation_of("multilabel"))


@pytest.mark.parametrize("num_images", range(12))
def test_examples_are_ranked_and_never_shown_twice(num_images: int) -> None:
    scores: list[float | None] = [((7 * i) % 12) / 12 for i in range(num_images)]
    chosen = choose_examples([*scores, None], count=3)
    indices = [index for _, index in chosen]
    assert len(set(indices)) == len(indices) == min(num_images, 9)
    values = [scores[index] for index in indices]
    assert values == sorted(values)
    if num_images:
        assert chosen[0][0] == "worst"
        assert values[0] == min(scores)
        assert values[-1] == max(scores)
    if num_images > 9:
        ranks = [rank for rank, _ in chosen]
        assert ranks == ["worst"] * 3 + ["median"] * 3 + ["best"] * 3
