"""Row 4 of the faults: a disk that is full, or a folder that cannot be written to."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from delineate.errors import ResourceError, UsageError
from delineate.model_file import FILE_NAME, load_model, save_model
from delineate.models import build_model
from delineate.training import checkpoint as checkpoint_module
from delineate.training import fitting
from delineate.training import loop as loop_module
from delineate.training.checkpoint import FOLDER, find_checkpoint, save_checkpoint
from delineate.training.disk import check_room, estimate_run_bytes
from delineate.training.history import EpochRecord, History
from delineate.training.loggers.event_file import EventFile
from delineate.training.trainer import train


@pytest.fixture
def mount(tmp_path):
    """Return a function that mounts a disk of some megabytes; skips where that is not allowed."""
    mounted = []

    def mount(megabytes):
        folder = tmp_path / f"disk{len(mounted)}"
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
        if sys.platform != "linux" or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("mounting a small disk needs Linux and root")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder, leave=0):
    """Take all room on a disk but some bytes, and return the file to remove."""
    status = os.statvfs(folder)
    path = folder / "filling"
    with path.open("wb") as file:
        file.write(bytes(max(0, status.f_bavail * status.f_frsize - leave)))
    return path


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_row_4_too_little_room_is_said_before_the_first_step(circles, tiny, mount):
    run = mount(2) / "run"
    with pytest.raises(ResourceError) as caught:
        train(circles, run=run, epochs=1, overrides=tiny)
    assert caught.value.exit_code == 5
    assert f"disk full: {run / FOLDER} needs at least 4." in str(caught.value)
    assert "MB are free" in str(caught.value)
    assert not (run / FOLDER).exists()
    assert not (run / "results.csv").exists()


def test_what_a_run_holds_already_counts_as_there(tmp_path):
    network = build_model("unet", 1, 1, width=4, depth=2)
    weights = sum(value.numel() * value.element_size() for value in network.state_dict().values())
    needed = estimate_run_bytes(network, has_average=True)
    assert needed == pytest.approx(16 * weights + 4_000_000, abs=1)
    assert estimate_run_bytes(network, has_average=False) == needed - 3 * weights
    check_room(tmp_path, network, has_average=True)


@pytest.mark.parametrize("is_foreseen", [True, False])
def test_row_4_a_full_disk_keeps_the_former_checkpoint(mount, monkeypatch, is_foreseen):
    run = mount(2)
    save_checkpoint(run, 1, {"weights": torch.ones(100, 100)}, {})
    before = names(run)
    filling = fill(run, leave=100_000)
    if not is_foreseen:  # somebody else takes the room while it is written
        monkeypatch.setattr(checkpoint_module, "check_free_space", lambda *arguments: None)
    with pytest.raises(ResourceError, match=r"disk full: .*step-2 needs at least 1\.0 MB and \d+"):
        save_checkpoint(run, 2, {"weights": torch.zeros(500, 500)}, {})
    filling.unlink()
    assert names(run) == before
    assert torch.equal(find_checkpoint(run).load_state()["weights"], torch.ones(100, 100))


def test_row_4_a_training_that_fills_the_disk_can_be_gone_on_with(
    circles, tiny, mount, monkeypatch
):
    disk = mount(16)
    run = disk / "run"
    tiny["training"]["checkpoint_every"] = 1e-3
    former = loop_module.Loop._save
    filling = []

    def filling_up(self, *arguments):
        if self.position.step == 4:
            filling.append(fill(disk))
        former(self, *arguments)

    monkeypatch.setattr(fitting, "check_room", lambda *arguments, **keywords: None)
    with monkeypatch.context() as patch:
        patch.setattr(loop_module.Loop, "_save", filling_up)
        with pytest.raises(ResourceError, match=r"disk full: .*step-4 needs at least"):
            train(circles, run=run, epochs=2, overrides=tiny)
    assert find_checkpoint(run).step == 3
    assert len((run / "results.csv").read_text().splitlines()) == 2
    assert not [name for name in names(disk) if ".tmp" in name]
    filling[0].unlink()
    result = train(run=run, resume=True)
    assert result.num_steps == 6

    model = load_model(run)
    before = (run / FILE_NAME).read_bytes()
    filling = fill(disk)
    with pytest.raises(ResourceError, match=r"disk full: .*model\.safetensors needs at least"):
        save_model(model, run / FILE_NAME)
    assert (run / FILE_NAME).read_bytes() == before
    assert not [name for name in names(disk) if ".tmp" in name]


def test_row_4_a_full_disk_keeps_the_former_table(mount):
    run = mount(2)
    history = History(run)
    history.add(EpochRecord(1, 1.0, 0.5, 0.5, 0.5, 0.4, 1e-3))
    before = (run / "results.csv").read_text()
    fill(run)
    with pytest.raises(ResourceError, match=r"disk full: .*results\.csv"):
        history.add(EpochRecord(2, 1.0, 0.5, 0.5, 0.5, 0.4, 1e-3))
    assert (run / "results.csv").read_text() == before


def test_row_4_events_neither_hang_nor_end_a_training_on_a_full_disk(mount):
    from torch.utils.tensorboard.summary import image, scalar

    run = mount(2)
    warnings = []
    events = EventFile(run, warnings.append)
    events.add(scalar("loss", 0.5), 1)
    fill(run)
    start = time.monotonic()
    for step in range(30):
        noise = np.random.default_rng(step).random((60, 60, 3))
        events.add(image("picture", noise, dataformats="HWC"), step)
    events.close()
    assert time.monotonic() - start < 10
    (warning,) = warnings
    assert "No space left on device" in warning
    assert "goes on without events" in warning


def test_row_4_a_folder_that_is_read_only_is_named(mount, circles, tiny):
    disk = mount(2)
    run = disk / "run"
    run.mkdir()
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(UsageError, match=r"cannot be written \(Read-only file system\)"):
        train(circles, run=run, epochs=1, overrides=tiny)
    with pytest.raises(UsageError, match=r"step-1 cannot be written \(Read-only file system\)"):
        save_checkpoint(run, 1, {"weights": torch.zeros(3)}, {})


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
def test_row_4_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(UsageError, match="step-1 cannot be written"):
        save_checkpoint(tmp_path, 1, {"weights": torch.zeros(3)}, {})
    tmp_path.chmod(0o755)


def test_a_loading_process_that_dies_during_a_checkpoint_is_not_a_full_disk(tmp_path, monkeypatch):
    def dying(*arguments):
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

    monkeypatch.setattr(torch, "save", dying)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        save_checkpoint(tmp_path, 1, {"weights": torch.zeros(3)}, {})
    assert not list((tmp_path / FOLDER).iterdir())
