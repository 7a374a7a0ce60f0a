from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from delineate.evaluation.examples import choose_examples
from delineate.evaluation.report import build_report, show
from delineate.evaluation.result import Evaluation
from delineate.task import TaskKind

HOSTILE = '<script>alert("x")</script>'
EvaluationOf = Callable[..., Evaluation]


class Elements(HTMLParser):
    """Notes the elements of a page, and fails where they are not closed in order."""

    void = frozenset(["meta", "img", "input", "rect", "line", "circle", "polyline", "br"])

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


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_the_report_is_whole_offline_and_escaped(
    kind: TaskKind, evaluation_of: EvaluationOf
) -> None:
    page = build_report(evaluation_of(kind))
    elements = Elements()
    elements.feed(page)
    elements.close()
    assert elements.open == []
    assert [script.get("type") for script in elements.of("script")] == ["application/json", None]
    assert HOSTILE not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert len(elements.of("image")) == 3
    assert len(elements.of("img")) == 3 * 3
    pictures = [e for e in elements.of("div") if e.get("class") == "layers"]
    assert len(pictures) == 3 * 4
    assert all(picture["role"] == "img" and picture["aria-label"] for picture in pictures)
    assert not any("style" in attributes for _, attributes in elements.found)
    links = [v for _, a in elements.found for k, v in a.items() if k in ("href", "src")]
    assert all(link.startswith(("#", "data:image/")) for link in links)
    assert not re.search(r"url\(|@import|https?:", page)
    drawings = [drawing for drawing in elements.of("svg") if drawing.get("role") == "img"]
    assert len(drawings) == 6
    assert all(drawing["aria-label"] for drawing in drawings)
    shown = re.sub(r"<script>.*</script>", "", re.sub(r"data:[^\"]+", "", page), flags=re.DOTALL)
    assert not re.search(r"\b(?:nan|None|inf)\b", shown)


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
def test_the_script_gets_counts_and_exact_bytes(
    kind: TaskKind, evaluation_of: EvaluationOf
) -> None:
    evaluation = evaluation_of(kind)
    page = build_report(evaluation)
    found = re.search(r'id="page-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    example = evaluation.examples[0]
    probs = example.probs
    assert probs is not None
    if kind == "multiclass":
        entry = data["classes"][0]
        assert entry["start"] == 0
        assert entry["total"][0] == evaluation.scores.counts.num_pixels
        assert entry["right"][0] == np.trace(evaluation.scores.counts.matrix)
        confidences = probs.max(axis=0)
    else:
        for index, entry in enumerate(data["classes"]):
            tp, fp, fn, tn = evaluation.scores.histogram.counts_at(index, 0.4)
            start = entry["start"]
            assert entry["levels"][start] == pytest.approx(0.4)
            assert (entry["tp"][start], entry["fp"][start]) == (tp, fp)
            assert (entry["positives"], entry["negatives"]) == (tp + fn, fp + tn)
        confidences = probs[0]
    levels = np.asarray(data["classes"][0]["levels"], dtype=np.float32)
    assert (np.diff(levels) > 0).all()
    assert len(levels) <= 255
    address = data["examples"][0]["sources"][0].partition(",")[2]
    plane = np.asarray(Image.open(io.BytesIO(base64.b64decode(address))))
    for level in (0, 10, 100, len(levels) - 1):
        reached = confidences.astype(np.float32) >= levels[level]
        assert ((plane[..., 0] > level) == reached).all()
    truth = example.target[0] if kind == "multilabel" else example.target
    assert (plane[..., 1] == truth).all()


def test_the_policy_lets_in_the_page_alone(evaluation_of: EvaluationOf) -> None:
    page = build_report(evaluation_of("binary"))
    policy = re.search(r'Security-Policy" content="(.*?)"', page)
    assert policy is not None
    assert "unsafe" not in policy[1]
    assert "default-src 'none'" in policy[1]
    for tag in ("style", "script"):
        block = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert block is not None
        digest = base64.b64encode(hashlib.sha256(block[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_headline_numbers_are_those_of_the_scores(evaluation_of: EvaluationOf) -> None:
    evaluation = evaluation_of("binary")
    page = build_report(evaluation)
    pooled, per_image = evaluation.scores.pooled, evaluation.scores.per_image
    assert f'<dd class="value">{show(pooled["dice"])}</dd>' in page
    assert f"mean over images {show(per_image['dice'])}" in page
    assert "opening radius 1" in page
    assert "min hole area" not in page


def test_nothing_but_empty_images_still_gives_a_report(evaluation_of: EvaluationOf) -> None:
    page = build_report(evaluation_of("binary", is_empty=True))
    assert "3 images are empty in truth and prediction" in page
    assert "No image has foreground" in page
    assert page.count("true-empty") >= 3


def test_many_images_are_folded(evaluation_of: EvaluationOf) -> None:
    assert "All 30 images" in build_report(evaluation_of("binary", 30))
    assert "All 3 images" not in build_report(evaluation_of("binary", 3))


def test_the_mean_iou_names_its_background(evaluation_of: EvaluationOf) -> None:
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
