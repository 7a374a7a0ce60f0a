"""Row 8 of the faults: a process that loads data is killed, or does not answer."""

import gc
import os
import signal
import time

import psutil
import pytest
import torch

from delineate.data.dataset import PatchDataset
from delineate.errors import ResourceError
from delineate.model_file import load_model
from delineate.training.checkpoint import find_checkpoint
from delineate.training.trainer import train

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

FIRST_BAD = (1, 4)
"""Epoch and patch at which the loading process fails: the second step of the second epoch."""


@pytest.fixture
def settings(tiny):
    tiny["data"] = {"num_workers": 1}
    tiny["training"]["checkpoint_every"] = 1e-3
    return tiny


def fail_in_worker(monkeypatch, action):
    """Have the loading process, and not this one, do something before a patch."""
    former, own = PatchDataset.__getitem__, os.getpid()

    def loading(self, key):
        if key == FIRST_BAD and os.getpid() != own:
            action()
        return former(self, key)

    monkeypatch.setattr(PatchDataset, "__getitem__", loading)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def wait():
    time.sleep(900)


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (kill, r"ended .*shared memory probably ran out: .*--data\.num-workers 0"),
        (wait, r"sent nothing for 3\.0 seconds: .*data\.worker_timeout.*--data\.num-workers 0"),
    ],
    ids=["killed", "hanging"],
)
def test_row_8_a_loading_process_that_fails_ends_with_its_cause(
    circles, settings, tmp_path, monkeypatch, action, words
):
    run = tmp_path / "run"
    if action is wait:
        settings["data"]["worker_timeout"] = 3.0
    before = set(psutil.Process().children(recursive=True))
    start = time.monotonic()
    with monkeypatch.context() as patch:
        fail_in_worker(patch, action)
        with pytest.raises(ResourceError, match=words) as caught:
            train(circles, run=run, epochs=2, seed=1, overrides=settings)
    assert time.monotonic() - start < 600  # far less than the wait; the machine may be busy
    assert caught.value.exit_code == 5
    # torch tells of a dead process at once, maybe before the steps that it had loaded for
    assert 1 <= find_checkpoint(run).step <= 4
    del caught
    gc.collect()
    psutil.wait_procs(set(psutil.Process().children(recursive=True)) - before, timeout=20)
    assert not set(psutil.Process().children(recursive=True)) - before
    if action is kill:
        result = train(run=run, resume=True, overrides={"data": {"num_workers": 0}})
        assert result.num_steps == 6
        whole = train(circles, run=tmp_path / "whole", epochs=2, seed=1, overrides=settings)
        weights, expected = (load_model(r.model).network.state_dict() for r in (result, whole))
        assert all(torch.equal(weights[name], expected[name]) for name in expected)
