"""Runs side by side, on counts made for the purpose and through the command line."""

import json
import re

import numpy as np
import pytest

from delineate.cli.app import run as run_command
from delineate.comparison import compare
from delineate.errors import DataError, UsageError
from delineate.evaluation.image_counts import FILE_NAME, load_image_counts, save_image_counts
from delineate.evaluation.scoring import ImageScores
from delineate.metrics.confusion import ConfusionCounts
from delineate.task import Task

TASK = Task("binary", ("cell",))


def write_run(folder, accuracy, *, num_images=40, seed=0, task=TASK, prefix="image"):
    """Write a run that gets about a share of each image's foreground right."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    images = []
    for index in range(num_images):
        found = int(1000 * np.clip(accuracy + rng.normal(0, 0.02), 0, 1))
        matrix = np.zeros((task.num_classes, 2, 2), dtype=np.int64)
        matrix[:] = [[9000 - 100, 100], [1000 - found, found]]
        images.append(ImageScores(f"{prefix}{index}", ConfusionCounts(task, matrix)))
    save_image_counts(folder, "val", images, [image.name for image in images])
    rows = "".join(f"{epoch},{10 * epoch}.0,{accuracy}\n" for epoch in range(1, 4))
    (folder / "results.csv").write_text("epoch,time,metrics/dice\n" + rows)
    return folder


def test_counts_survive_their_file(tmp_path):
    loaded = load_image_counts(write_run(tmp_path / "a", 0.9, num_images=3) / FILE_NAME)
    assert loaded.names == ("image0", "image1", "image2")
    assert loaded.split == "val"
    assert loaded.total.num_pixels == 30000
    assert loaded.counts[0].matrix[0].sum() == 10000


def test_a_difference_is_told_from_chance(tmp_path):
    runs = [
        write_run(tmp_path / "first", 0.80, seed=1),
        write_run(tmp_path / "better", 0.90, seed=2),
        write_run(tmp_path / "same", 0.80, seed=3),
        write_run(tmp_path / "worse", 0.70, seed=4),
    ]
    first, better, same, worse = compare(runs).runs
    assert first.difference is None
    assert better.verdict.startswith("better is better than first by ")
    assert better.difference.low > 0
    assert same.verdict.startswith("no difference shown between same and first")
    assert worse.verdict.startswith("worse is worse than first by ")
    assert "95 % interval" in worse.verdict
    assert worse.difference.estimate == pytest.approx(worse.dice.estimate - first.dice.estimate)


def test_the_command_prints_verdicts_and_writes_a_page(tmp_path, capsys):
    a, b = write_run(tmp_path / "a", 0.8), write_run(tmp_path / "<b>", 0.9, seed=1)
    assert run_command(["compare", str(a), str(b), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "<b> is better than a by" in printed
    assert "40 images of the val split in 40 groups" in printed
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert "Validation Dice" in page
    document = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert document["runs"][1]["difference"]["low"] > 0


def test_settings_that_differ_and_findings_are_shown(tmp_path, capsys):
    a, b = write_run(tmp_path / "a", 0.8), write_run(tmp_path / "b", 0.9, seed=1)
    settings = "training: {{seed: {}, batch_size: 4}}\nlogging: {{to: [{}]}}\n"
    (a / "config.yaml").write_text(settings.format(0, "mlflow"))
    (b / "config.yaml").write_text(settings.format(1, ""))
    finding = {"name": "over-fitting", "what": "since about epoch 3 <it> rose"}
    (b / "verdict.json").write_text(json.dumps({"findings": [finding]}))
    comparison = compare([a, b], out=tmp_path / "out")
    assert comparison.differences == (("training.seed", ("0", "1")),)
    assert comparison.runs[0].findings == ()
    assert comparison.runs[1].findings == ("over-fitting: since about epoch 3 <it> rose",)
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "What differs" in page
    assert "b: over-fitting: since about epoch 3 &lt;it&gt; rose." in page
    assert run_command(["compare", str(a), str(b)]) == 0
    printed = capsys.readouterr().out
    assert "settings that differ (a, b):\n  training.seed: 0 | 1\n" in printed
    assert "in the way of b: over-fitting: since about epoch 3" in printed


def test_what_only_one_kind_of_loss_has_is_not_listed(tmp_path):
    a, b = write_run(tmp_path / "a", 0.8), write_run(tmp_path / "b", 0.9, seed=1)
    (a / "config.yaml").write_text("loss: {name: dice, smooth: 1.0}\ntraining: {time: null}\n")
    (b / "config.yaml").write_text("loss: {name: focal, gamma: 2.0}\ntraining: {time: 40.0}\n")
    assert compare([a, b]).differences == (
        ("loss.name", ("dice", "focal")),
        ("training.time", ("none", "40.0")),
    )


def test_a_run_of_one_epoch_is_a_stroke(tmp_path):
    a, b = write_run(tmp_path / "a", 0.8), write_run(tmp_path / "short", 0.9, seed=1)
    (b / "results.csv").write_text("epoch,time,metrics/dice\n1,20.0,0.9\n")
    compare([a, b], out=tmp_path / "out")
    page = (tmp_path / "out" / "compare.html").read_text()
    assert page.count("<polyline") == 2
    stroke = re.findall(r'<polyline points="([^"]*)"', page)[1].split()
    assert len(stroke) == 2
    assert stroke[0].partition(",")[2] == stroke[1].partition(",")[2]


def test_few_images_are_warned_of(tmp_path):
    runs = [write_run(tmp_path / name, 0.8, num_images=4, seed=1) for name in ("a", "b")]
    assert compare(runs).warning


def test_runs_of_other_images_or_classes_are_refused(tmp_path):
    a = write_run(tmp_path / "a", 0.8)
    with pytest.raises(DataError, match=r"different images \(80 in one only: image0"):
        compare([a, write_run(tmp_path / "b", 0.8, prefix="photo")])
    other = Task("multilabel", tuple(f"class {index}" for index in range(150)))
    with pytest.raises(DataError, match="the same classes") as raised:
        compare([a, write_run(tmp_path / "c", 0.8, task=other)])
    assert "class 0, class 1, class 2 and 147 more (multilabel)" in str(raised.value)


def test_long_names_are_shortened_in_errors(tmp_path):
    a = write_run(tmp_path / "a", 0.8)
    digest = "08ae2741df2f5ac815c0f272a8c532b5167ee853be9b939b9b8b7fa93560868a"
    b = write_run(tmp_path / "b", 0.8, prefix=f"{digest}/images/{digest}-")
    with pytest.raises(DataError) as raised:
        compare([a, b])
    message = str(raised.value)
    assert len(message) < 400
    assert "08ae2741df2f5ac815c..." in message
    assert "and 77 more" in message


def test_what_cannot_be_compared_says_what_to_do(tmp_path):
    a = write_run(tmp_path / "a", 0.8)
    with pytest.raises(UsageError, match="two runs"):
        compare([a])
    with pytest.raises(UsageError, match="not there"):
        compare([a, tmp_path / "missing"])
    with pytest.raises(DataError, match="evaluate the run first"):
        compare([a, a], split="test")
    (a / FILE_NAME).write_text("{}")
    with pytest.raises(DataError, match="evaluate the run again"):
        compare([a, a])
