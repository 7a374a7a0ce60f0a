from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from delineate.evaluation.evaluate import write_evaluation
from delineate.evaluation.model_card import MARK, describe_card, write_model_card
from delineate.evaluation.result import Evaluation
from delineate.files import digest_file
from delineate.model_file import SegmentationModel, read_model_info, save_model
from delineate.models import build_model
from delineate.preprocessing import Preprocessing
from delineate.task import Task


@pytest.fixture
def run(tmp_path: Path) -> Path:
    settings: dict[str, Any] = {"width": 4, "depth": 2}
    architecture = {"name": "unet", "in_channels": 1, "num_classes": 1, "settings": settings}
    model = SegmentationModel(
        build_model("unet", 1, 1, **settings),
        Task("binary", ("cell|<b>",)),
        Preprocessing(1),
        architecture,
        (64, 64),
        thresholds=(0.25,),
        provenance={"seed": 7, "data_digest": "abc", "versions": {"delineate": "1"}},
    )
    save_model(model, tmp_path / "model.safetensors")
    (tmp_path / "inventory.csv").write_text(
        "image,mask,split,group\na,a1,train,a\na,a2,train,a\nb,b,train,b\nc,c,val,c\n"
    )
    (tmp_path / "plan.md").write_text(
        "# Plan\n\n## What came of it\n\n- Ended after 9 steps: done.\n- Best epoch: 2 of 3.\n"
    )
    return tmp_path


def test_a_card_says_use_data_numbers_and_limits(run: Path) -> None:
    assert write_model_card(run)
    card = (run / "README.md").read_text(encoding="utf-8")
    assert card.startswith(MARK)
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == ["## Use", "## Data and training", "## Numbers", "## Limits"]
    assert "threshold 0.250" in card
    assert "2 train, 1 val" in card
    assert "Best epoch: 2 of 3." in card
    assert "The test images have not been looked at" in card
    assert "<b>" not in card.replace("\\<b\\>", "")


def test_an_evaluation_in_the_run_folder_brings_its_numbers(
    run: Path, evaluation_of: Callable[..., Evaluation]
) -> None:
    evaluation = evaluation_of("binary", 4)
    digest = digest_file(run / "model.safetensors")
    model = {**evaluation.model, "digest": digest}
    write_evaluation(replace(evaluation, folder=run / "evaluation-test", model=model))
    card = (run / "README.md").read_text(encoding="utf-8")
    dice = evaluation.scores.pooled["dice"]
    assert f"| {dice:.3f} (" in card
    assert "**look out" in card
    assert "have not been looked at" not in card
    other = {**model, "digest": "of another model"}
    write_evaluation(replace(evaluation, folder=run / "evaluation-test", model=other))
    assert "have not been looked at" in (run / "README.md").read_text(encoding="utf-8")


def test_what_somebody_wrote_is_left_alone(run: Path) -> None:
    (run / "README.md").write_text("my notes")
    assert not write_model_card(run)
    assert (run / "README.md").read_text() == "my notes"
    assert not write_model_card(run / "nowhere")


def test_weak_parts_are_limits(run: Path, evaluation_of: Callable[..., Evaluation]) -> None:
    metrics = json.loads(json.dumps(evaluation_of("binary", 4).metrics))
    metrics["slices"][0].update(is_weak=True, score=0.1, rest=0.9, label="up to 5 px")
    card = describe_card("run", read_model_info(run), {}, [metrics])
    assert "- Weak (recall 0.100, elsewhere 0.900): Object size, up to 5 px." in card
