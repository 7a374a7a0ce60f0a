from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from delineate.errors import ShapeError
from delineate.metrics.calibration import CalibrationCounts
from delineate.metrics.confusion import ConfusionCounts
from delineate.metrics.curves import ProbabilityHistogram
from delineate.metrics.objects import ObjectCounts
from delineate.metrics.reduction import flatten_counts, sum_over_processes, unflatten_counts
from delineate.task import Task

TASK = Task("multilabel", ("a", "b"))


def count(seed: int) -> list[object]:
    """Every kind of counts, of one drawn image."""
    rng = np.random.default_rng(seed)
    probs = rng.random((2, 24, 20), dtype=np.float32)
    target = (rng.random((2, 24, 20)) < 0.3).astype(np.uint8)
    confusion, objects = ConfusionCounts(TASK), ObjectCounts(TASK)
    for counts in (confusion, objects):
        counts.update(TASK.mask(probs), target)
    histogram, calibration = ProbabilityHistogram(TASK, 64, layout="logit"), CalibrationCounts(TASK)
    for counts in (histogram, calibration):
        counts.update(probs, target)
    return [confusion, objects, histogram, calibration]


def test_flattening_and_back() -> None:
    counts = count(0)
    flat = flatten_counts(counts)
    assert flat.dtype == np.int64
    again = unflatten_counts(flat, count(1))
    for kept, expected in zip(again, counts, strict=True):
        assert type(kept) is type(expected)
        for name, array in expected.as_dict().items():
            np.testing.assert_array_equal(kept.as_dict()[name], array)
    assert again[2].layout == "logit"
    with pytest.raises(ShapeError, match=f"are {flat.size} numbers, got 3"):
        unflatten_counts(flat[:3], counts)
    assert flatten_counts([]).size == 0


def test_adding_flat_counts_is_adding_counts() -> None:
    added = unflatten_counts(flatten_counts(count(0)) + flatten_counts(count(1)), count(0))
    for summed, first, second in zip(added, count(0), count(1), strict=True):
        for name, array in (first + second).as_dict().items():
            np.testing.assert_array_equal(summed.as_dict()[name], array)


def test_one_process_keeps_its_counts() -> None:
    counts = count(0)
    assert all(a is b for a, b in zip(sum_over_processes(counts), counts, strict=True))


RANK = """
import sys
from pathlib import Path
import numpy as np
import torch.distributed as dist
sys.path.insert(0, {folder!r})
from test_reduction import count
from delineate.metrics.reduction import flatten_counts, sum_over_processes
rank = int(sys.argv[1])
dist.init_process_group("gloo", init_method={store!r}, rank=rank, world_size=2)
np.save(Path({out!r}) / f"{{rank}}.npy", flatten_counts(sum_over_processes(count(rank))))
dist.destroy_process_group()
"""


def test_two_processes_give_the_numbers_of_one(tmp_path: Path) -> None:
    script = tmp_path / "rank.py"
    script.write_text(
        RANK.format(
            folder=str(Path(__file__).parent),
            store=(tmp_path / "store").as_uri(),
            out=str(tmp_path),
        )
    )
    ranks = [subprocess.Popen([sys.executable, str(script), str(rank)]) for rank in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    expected = flatten_counts([a + b for a, b in zip(count(0), count(1), strict=True)])
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy"), expected)
