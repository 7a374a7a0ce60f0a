from __future__ import annotations

import math
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from delineate.config import build_settings
from delineate.data.doctor import examination
from delineate.data.doctor.diagnosis import diagnose
from delineate.data.doctor.look import ImageJob, MaskJob, look_at_image, look_at_mask
from delineate.data.doctor.workers import run_jobs
from delineate.data.inventory import Sample


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


INTERRUPTED = """
import time, threading, os, signal
from delineate.data.doctor.workers import run_jobs
threading.Timer(1.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    run_jobs(time.sleep, [60.0] * 4, "naps", num_workers=2, crashed=str)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_an_interrupt_leaves_no_worker_behind() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, text=True
    )
    found: dict[int, psutil.Process] = {}
    while process.poll() is None:
        with suppress(psutil.NoSuchProcess):
            found |= {child.pid: child for child in psutil.Process(process.pid).children()}
        time.sleep(0.05)
    assert process.communicate()[0] == "interrupted\n"
    assert len(found) == 2
    _, alive = psutil.wait_procs(list(found.values()), timeout=10)
    assert not alive


@given(data=st.data())
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_damage_to_a_file_stops_the_look(data: st.DataObject, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / data.draw(st.sampled_from(["a.png", "a.tif", "a.jpg", "a.npy"]))
    pixels = rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)
    if path.suffix == ".npy":
        np.save(path, pixels)
    else:
        Image.fromarray(pixels).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    sample = Sample(path, (), "train", "a", "a")
    image = look_at_image(ImageJob(sample, tmp_path, (), None)).image
    mask = look_at_mask(MaskJob(path, tmp_path, is_multilabel=False))
    assert image.error or image.channels or image.num_nan
    assert mask.error or mask.tally
