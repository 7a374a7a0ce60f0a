"""What watching a run costs, and how often its verdict is right.

python benchmarks/watching.py verdict    # on synthetic courses of known kinds, with noise
python benchmarks/watching.py pictures   # CPU time of an epoch's picture, of pure noise
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from delineate.config import Settings, dump_settings, flatten_settings
from delineate.task import Task
from delineate.training.gallery import EpochPictures
from delineate.training.history import EpochRecord
from delineate.training.loggers.logger import RunFacts
from delineate.training.loggers.tensorboard_logger import TensorBoardLogger
from delineate.training.validation import KeptImage
from delineate.training.verdict.evidence import Evidence
from delineate.training.verdict.judging import judge

NUM_COURSES = 200
SETTINGS = flatten_settings(dump_settings(Settings()))
KINDS = {
    "converges": lambda x: (
        0.2 + 0.5 * np.exp(-5 * x),
        0.25 + 0.45 * np.exp(-5 * x),
        0.85 - 0.4 * np.exp(-5 * x),
    ),
    "over-fits": lambda x: (
        0.05 + 0.6 * np.exp(-4 * x),
        0.3 + 0.4 * np.exp(-10 * x) + 0.25 * np.clip(x - 0.25, 0, 1),
        0.8 - 0.4 * np.exp(-10 * x) - 0.08 * np.clip(x - 0.25, 0, 1),
    ),
    "stands": lambda x: (
        0.05 + 0.6 * np.exp(-3 * x),
        0.3 + 0.4 * np.exp(-12 * x),
        0.7 - 0.4 * np.exp(-12 * x),
    ),
    "rises": lambda x: (0.9 - 0.4 * x, 0.9 - 0.35 * x, 0.3 + 0.3 * x),
}
"""Kind -> training loss, validation loss and Dice over the share of the epochs."""


def make_evidence(kind, num_epochs, noise, seed):
    rng = np.random.default_rng(seed)
    train, val, dice = KINDS[kind](np.arange(num_epochs) / num_epochs)
    train = train * (1 + noise / 2 * rng.standard_normal(num_epochs))
    val = val * (1 + noise * rng.standard_normal(num_epochs))
    dice = np.clip(dice + noise / 4 * rng.standard_normal(num_epochs), 0, 0.89)
    records = tuple(
        EpochRecord(epoch, 10.0 * epoch, float(t), float(v), float(d), 0.5, 1e-3)
        for epoch, (t, v, d) in enumerate(zip(train, val, dice, strict=True), start=1)
    )
    return Evidence(records, 1000, (), SETTINGS, float(dice.max()))


def measure_verdicts():
    print(f"share of {NUM_COURSES} courses of which each symptom was said")
    for kind in KINDS:
        for num_epochs in (10, 20, 60):
            for noise in (0.02, 0.1, 0.25):
                said = Counter(
                    finding.name
                    for seed in range(NUM_COURSES)
                    for finding in judge(make_evidence(kind, num_epochs, noise, seed))
                )
                shares = {name: f"{count / NUM_COURSES:.1%}" for name, count in said.items()}
                print(f"{kind:10} {num_epochs:3} epochs, noise {noise:4.0%}: {shares}")


def measure_pictures():
    task, rng = Task("binary", ("cell",)), np.random.default_rng(0)
    for size in (512, 2048):
        images = [
            KeptImage(
                number,
                f"{number}.png",
                rng.integers(0, 255, (size, size, 3), dtype=np.uint8),
                rng.integers(0, 2, (size, size), dtype=np.uint8),
                rng.random((1, size, size)).astype(np.float16),
            )
            for number in range(4)
        ]
        validation = SimpleNamespace(
            kept=tuple(images), mask=lambda image: image.mask(task, (0.5,), {})
        )
        with tempfile.TemporaryDirectory() as folder:
            logger = TensorBoardLogger(print)
            logger.start(RunFacts(Path(folder), "", {}, {}))
            seconds = []
            for _ in range(5):
                write = partial(logger.log_picture, "epochs", epoch=1)
                pictures = EpochPictures(task, 4, write)
                before = time.thread_time()
                pictures.show(validation, 1)
                seconds.append(time.thread_time() - before)
            logger.close("finished", {})
        print(f"4 images of {size} x {size}: {np.median(seconds):.3f} s of a core")


if __name__ == "__main__":
    {"verdict": measure_verdicts, "pictures": measure_pictures}[sys.argv[1]]()
