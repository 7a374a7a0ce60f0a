"""Results on the data of others do not stand for those on a model's own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from delineate.cli.display import print_evaluation
from delineate.config import DataConfig, Settings, TaskConfig, dump_settings
from delineate.data.inventory import build_inventory
from delineate.data.masks import MaskDecoder, inspect_masks
from delineate.evaluation.evaluate import evaluate
from delineate.evaluation.model_card import write_model_card
from delineate.evaluation.own_data import choose_folder, is_own_data
from delineate.model_file import SegmentationModel, save_model
from delineate.models import build_model
from delineate.preprocessing import Preprocessing
from delineate.recipes.planning import digest_inventory

CONFIG = DataConfig(split=(0.4, 0.2, 0.4))


def write_data(root: Path, seed: int) -> Path:
    rng = np.random.default_rng(seed)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index in range(5):
        mask = np.kron(rng.integers(0, 2, (4, 4)), np.ones((8, 8))).astype(np.uint8)
        Image.fromarray(60 + 90 * mask).save(root / "images" / f"{index}.png")
        Image.fromarray(255 * mask).save(root / "masks" / f"{index}.png")
    return root


@pytest.fixture
def run(tmp_path: Path) -> Path:
    data = write_data(tmp_path / "own", 0)
    inventory = build_inventory(data, CONFIG)
    task, decoder = inspect_masks(inventory, CONFIG, TaskConfig())
    assert isinstance(decoder, MaskDecoder)
    settings = {"width": 4, "depth": 2}
    torch.manual_seed(0)
    model = SegmentationModel(
        build_model("unet", 1, 1, **settings).eval(),
        task,
        Preprocessing(1),
        {"name": "unet", "in_channels": 1, "num_classes": 1, "settings": settings},
        (32, 32),
        thresholds=(0.5,),
        decoder=decoder.as_dict(),
        provenance={
            "config": dump_settings(Settings(data=CONFIG)),
            "data_digest": digest_inventory(inventory),
        },
    )
    save_model(model, tmp_path / "run" / "model.safetensors")
    return tmp_path / "run"


def test_foreign_data_have_a_folder_of_their_own_and_no_say_in_the_card(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = evaluate(run, tmp_path / "own", device="cpu")
    assert own.folder == run / "evaluation-test"
    card = (run / "README.md").read_bytes()
    scores = own.metrics_path.read_bytes()
    names = []
    for place in ("a/field 2", "b/field 2", "a/field 2"):
        root = tmp_path / place
        if not root.is_dir():
            write_data(root, len(names) + 1)
        found = evaluate(run, root, device="cpu")
        names.append(found.folder.name)
        assert json.loads(found.metrics_path.read_text())["data"]["is_own"] is False
        print_evaluation(found)
        assert "field 2 is not what the model was made of" in capsys.readouterr().out
    assert names == ["evaluation-test-field-2", "evaluation-test-field-2-2", names[0]]
    assert own.metrics_path.read_bytes() == scores
    assert (run / "README.md").read_bytes() == card
    assert write_model_card(run)
    assert (run / "README.md").read_bytes() == card


def test_own_data_are_known_wherever_they_lie(run: Path, tmp_path: Path) -> None:
    from delineate.model_file import load_model

    model = load_model(run)
    moved = (tmp_path / "own").rename(tmp_path / "elsewhere")
    assert is_own_data(model, moved)
    (moved / "images" / "0.png").unlink()
    (moved / "masks" / "0.png").unlink()
    assert not is_own_data(model, moved)
    assert not is_own_data(model, tmp_path / "run")
    model.provenance = {}
    assert is_own_data(model, moved)


def test_folders_are_named_by_their_data(tmp_path: Path) -> None:
    def name(data: str, *, is_own: bool = False) -> str:
        return choose_folder(tmp_path, "val", tmp_path / data, "d", is_own=is_own).name

    assert name("set", is_own=True) == "evaluation-val"
    assert name("set/data.yaml") == "evaluation-val-set"
    assert name("pairs.csv") == "evaluation-val-pairs"
    (tmp_path / "evaluation-val-set").mkdir()
    (tmp_path / "evaluation-val-set" / "metrics.json").write_text("notes")
