"""Row 9 of the faults: an image that is damaged or changed while training runs."""

import csv
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from delineate.data.bad_images import count_tolerable
from delineate.data.memory import load_memory
from delineate.errors import DataError
from delineate.processes import Team
from delineate.training import loop as loop_module
from delineate.training.left_out import LeftOut
from delineate.training.trainer import train

SETTINGS = {
    "model": {"width": 4, "depth": 2, "norm": "group"},
    "training": {
        "patch_size": [64, 64],
        "batch_size": 4,
        "steps_per_epoch": 4,
        "checkpoint_every": 1e-3,
        "class_weights": "none",
    },
    # nothing is kept in memory: each patch reads its image again
    "data": {"num_workers": 0, "cache_gib": 0.0, "on_bad_image": "skip"},
    "evaluation": {"tuning": {"effort": 0}},
}


@pytest.fixture
def settings():
    return {section: dict(values) for section, values in SETTINGS.items()}


@pytest.fixture
def data(circles, tmp_path):
    return Path(shutil.copytree(circles, tmp_path / "data"))


def trained_images(run, data):
    with (run / "inventory.csv").open() as file:
        rows = csv.DictReader(file)
        return [
            (data / row["image"], data / row["mask"]) for row in rows if row["split"] == "train"
        ]


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def brighten(path):
    cv2.imwrite(str(path), np.minimum(cv2.imread(str(path), 0), 200) + 55)


def damage_before_step(monkeypatch, step, action):
    """Do something to the files when training has made so many steps."""
    former = loop_module.Loop._train_epoch

    def damaging(self, *args):
        load = self.load_epoch

        def loading(epoch, first):
            made = self.position.step
            if made == step:
                action()
            for batches in load(epoch, first):
                yield batches
                if self.position.step + 1 == step and made != step:
                    action()

        self.load_epoch = loading
        try:
            return former(self, *args)
        finally:
            self.load_epoch = load

    monkeypatch.setattr(loop_module.Loop, "_train_epoch", damaging)


@pytest.mark.parametrize(("damage", "num_workers"), [(truncate, 1), (brighten, 0)])
def test_row_9_by_default_an_error_names_the_file(
    data, settings, tmp_path, monkeypatch, damage, num_workers
):
    settings["data"] |= {"on_bad_image": "error", "num_workers": num_workers}
    run = tmp_path / "run"
    spoiled = []

    def spoil():
        spoiled.extend(image for image, _ in trained_images(run, data)[:1])
        damage(spoiled[0])

    damage_before_step(monkeypatch, 4, spoil)
    with pytest.raises(DataError) as caught:
        train(data, run=run, epochs=20, overrides=settings)
    assert str(spoiled[0]) in str(caught.value)
    assert ("another than when training began" in str(caught.value)) == (damage is brighten)


def test_row_9_skip_lists_the_image_and_resumes_exactly(data, settings, tmp_path, monkeypatch):
    clean = shutil.copytree(data, tmp_path / "clean")
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    with monkeypatch.context() as patch:
        damage_before_step(patch, 3, lambda: truncate(trained_images(whole, data)[1][0]))
        result = train(data, run=whole, epochs=3, seed=1, overrides=settings)
    name = trained_images(whole, data)[1][0].stem
    assert result.num_steps == 12
    plan = (whole / "plan.md").read_text()
    assert f"A training image is left out from now on: images/{name} (" in plan
    assert f"Left out 1 of 6 training images: images/{name}." in plan
    assert "Left out 1 of 6 training images" in (whole / "README.md").read_text()

    shutil.rmtree(data)
    shutil.copytree(clean, data)

    class CutError(Exception):
        pass

    with monkeypatch.context() as patch:
        damage_before_step(patch, 3, lambda: truncate(trained_images(cut, data)[1][0]))
        former = loop_module.Loop._save

        def dying(self, *args):
            former(self, *args)
            if self.position.step == 6:
                raise CutError

        patch.setattr(loop_module.Loop, "_save", dying)
        with pytest.raises(CutError):
            train(data, run=cut, epochs=3, seed=1, overrides=settings)
    train(run=cut, resume=True)
    models = [(run / "model.safetensors").read_bytes() for run in (whole, cut)]
    assert models[0] == models[1]
    rows = [
        [line.split(",")[2:] for line in (run / "results.csv").read_text().splitlines()]
        for run in (whole, cut)
    ]
    assert rows[0] == rows[1]


def test_row_9_more_than_the_cap_is_an_error_that_keeps_the_checkpoint(
    data, settings, tmp_path, monkeypatch
):
    run = tmp_path / "run"

    def spoil():
        for image, _ in trained_images(run, data)[:2]:
            truncate(image)

    damage_before_step(monkeypatch, 4, spoil)
    with pytest.raises(DataError, match=r"at most 1 of 6 training images may be left out|at most"):
        train(data, run=run, epochs=20, overrides=settings)
    assert (run / "checkpoints").exists()
    # two of six cannot be resumed without either
    with pytest.raises(DataError, match=r"2 of 6 training images .* more than may be left out"):
        train(run=run, resume=True)


def test_row_9_a_damaged_mask_counts_too(data, settings, tmp_path, monkeypatch):
    run = tmp_path / "run"
    damage_before_step(monkeypatch, 4, lambda: truncate(trained_images(run, data)[0][1]))
    train(data, run=run, epochs=2, overrides=settings)
    assert "Left out 1 of 6" in (run / "plan.md").read_text()


def test_the_cap_is_one_percent_but_one_of_several():
    assert [count_tolerable(count) for count in (1, 2, 99, 100, 250, 1000)] == [0, 1, 1, 1, 2, 10]


def test_what_a_run_knows_of_its_data_is_kept_with_the_checkpoint(
    data, settings, tmp_path, monkeypatch
):
    run = tmp_path / "run"

    def stop(self, *args):
        former(self, *args)
        raise InterruptedError

    former = loop_module.Loop._save
    monkeypatch.setattr(loop_module.Loop, "_save", stop)
    with pytest.raises(InterruptedError):
        train(data, run=run, epochs=1, overrides=settings)
    memory = load_memory(run / "checkpoints" / "step-1" / "data.pt")
    assert len(memory.images.names) == 6
    assert memory.preprocessing.in_channels == 1
    assert all(torch.is_tensor(torch.from_numpy(p)) for p in memory.images.class_pixels[0].values())


def test_row_9_processes_count_together_what_each_has_met(monkeypatch):
    others = {4}
    monkeypatch.setattr(Team, "gather", lambda self, value: [value, others])
    monkeypatch.setattr(Team, "share", lambda self, value: value)
    said = []

    class Images(list):
        @property
        def samples(self):
            return [SimpleNamespace(name=f"images/{number}") for number in self]

    left_out = LeftOut(Images(range(200)), said.append, team=Team(0, 2))
    left_out.note([{"bad": torch.tensor([[7, -1], [-1, -1]])}, {}])
    left_out.settle()
    assert left_out.met == {4, 7}
    assert len(said) == 2
    left_out.settle()
    assert len(said) == 2
    assert left_out.describe() == ["Left out 2 of 200 training images: images/4, images/7."]
    others.add(5)
    with pytest.raises(DataError, match=r"3 of 200 .* the last images/5 .*at most 1%"):
        left_out.settle()
