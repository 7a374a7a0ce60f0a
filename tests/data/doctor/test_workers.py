from __future__ import annotations

import math
import signal
from pathlib import Path

import numpy as np
import pytest

from delineate.config import build_settings
from delineate.data.doctor import examination
from delineate.data.doctor.diagnosis import diagnose
from delineate.data.doctor.workers import run_jobs


def name_crash(job: object, what: str) -> str:
    return f"{job}: {what}"


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_jobs(num_workers: int) -> None:
    jobs = [float(number * number) for number in range(20)]
    found = run_jobs(math.sqrt, jobs, "roots", num_workers=num_workers, crashed=name_crash)
    assert found == list(range(20))


def test_a_crash_costs_its_job_alone() -> None:
    jobs = [0, int(signal.SIGKILL), 0, 0]
    found = run_jobs(signal.raise_signal, jobs, "signals", num_workers=1, crashed=name_crash)
    assert found[0] is found[2] is found[3] is None
    assert found[1] == "9: decoding it ended the process with signal 9"


def test_a_defect_in_a_worker_is_raised_here() -> None:
    with pytest.raises(ValueError, match="math domain error"):
        run_jobs(math.sqrt, [1.0, -1.0, 1.0], "roots", num_workers=2, crashed=name_crash)


def test_what_a_job_prints_does_not_disturb_the_answers() -> None:
    found = run_jobs(print, ["a", "b"], "prints", num_workers=1, crashed=name_crash)
    assert found == [None, None]


def test_records_are_the_same_with_and_without_workers(
    cells: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = diagnose(cells, build_settings({}))
    monkeypatch.setattr(examination, "MIN_BYTES_FOR_WORKERS", 0)
    shared = diagnose(cells, build_settings({}))
    assert shared.examination.pairs == alone.examination.pairs
    assert shared.findings == alone.findings
    for one, other in zip(shared.examination.pairs, alone.examination.pairs, strict=True):
        np.testing.assert_array_equal(one.image.thumbnail, other.image.thumbnail)
