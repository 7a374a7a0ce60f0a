"""Fingerprints that are kept by the content of the images."""

import json
from dataclasses import replace

import numpy as np
import pytest

from delineate.data.fingerprint import store
from delineate.data.fingerprint.builder import build_fingerprint
from delineate.data.fingerprint.image import measure_image
from delineate.data.fingerprint.store import recall_fingerprint
from delineate.task import Task

TASK = Task("binary", ("cell",))


class Images:
    """What a cache of images tells of them."""

    def __init__(self, contents, task=TASK):
        self.contents = contents
        self.task = task
        self.samples = [type("Sample", (), {"group": name}) for name in contents]


@pytest.fixture
def measured():
    target = np.zeros((40, 50), np.uint8)
    target[10:20, 10:30] = 1
    pixels = (target[..., None] * 100).astype(np.uint8)
    image = measure_image(pixels, target, TASK, in_channels=1)
    return build_fingerprint([(image, "a")], TASK, 1, digest="first", dtype="uint8")


@pytest.fixture
def recall(tmp_path, monkeypatch, measured):
    """Recall a fingerprint; returns it and whether it had to be measured."""
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path))

    def run(images, digest="first", in_channels=1, spacing=()):
        calls = []

        def measure():
            calls.append(1)
            return replace(measured, digest=digest)

        facts = {"in_channels": in_channels, "spacing": spacing, "digest": digest}
        found = recall_fingerprint(images, **facts, measure=measure)
        return found, bool(calls)

    return run


def test_the_same_content_is_measured_once(recall, measured):
    images = Images(["0a", "0b"])
    assert recall(images) == (measured, True)
    found, was_measured = recall(images, digest="renamed")
    assert not was_measured
    assert found == replace(measured, digest="renamed")


@pytest.mark.parametrize(
    ("other", "in_channels"),
    [
        (Images(["0a", "0c"]), 1),
        (Images(["0b", "0a"]), 1),
        (Images(["0a", "0b"], Task("binary", ("nucleus",))), 1),
        (Images(["0a", "0b"]), 3),
    ],
)
def test_what_differs_is_measured_again(recall, other, in_channels):
    recall(Images(["0a", "0b"]))
    assert recall(other, in_channels=in_channels)[1]


def test_other_sizes_of_pixels_are_measured_again(recall):
    recall(Images(["0a"]), spacing=(0.5,))
    assert recall(Images(["0a"]), spacing=(0.6,))[1]
    assert not recall(Images(["0a"]), spacing=(0.5,))[1]


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign"])
def test_what_is_damaged_is_measured_again_and_mended(recall, measured, tmp_path, damage):
    images = Images(["0a"])
    recall(images)
    (path,) = tmp_path.rglob("*.json")
    text = path.read_text()
    if damage == "cut":
        path.write_text(text[: len(text) // 2])
    elif damage == "changed":
        document = json.loads(text)
        document["fingerprint"]["empty_share"] = 0.5
        path.write_text(json.dumps(document))
    else:
        path.write_text("[]")
    assert recall(images) == (measured, True)
    assert recall(images) == (measured, False)


def test_a_cache_that_cannot_be_written_is_done_without(recall, measured, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DELINEATE_CACHE", str(tmp_path / "file"))
    assert recall(Images(["0a"])) == (measured, True)
    assert recall(Images(["0a"])) == (measured, True)


def test_the_oldest_make_room(recall, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "MOST_KEPT", 3)
    for number in range(6):
        recall(Images([str(number)]))
    assert len(list(tmp_path.rglob("*.json"))) == 3


def test_the_folder_is_the_users_own_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv("DELINEATE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / "delineate"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.cache_folder() == tmp_path / ".cache" / "delineate"
