"""Several processes train as one does: each comparison is with one process that had it all."""

import csv
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from torch import nn

from delineate.model_file import FILE_NAME, load_model
from delineate.models import build_model
from delineate.training.checkpoint import FOLDER
from delineate.training.spreading import synchronise_norms

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32", reason="needs gloo"
)

_SPEC = importlib.util.spec_from_file_location(
    "joint_steps", Path(__file__).with_name("joint_steps.py")
)
joint_steps = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(joint_steps)

EPOCHS = 2
FLAGS = [
    *("--epochs", str(EPOCHS), "--seed", "3", "--model.width", "4", "--model.depth", "2"),
    *("--training.patch-size", "64,64", "--training.steps-per-epoch", "3", "--model.norm", "group"),
    *("--data.num-workers", "0", "--evaluation.tuning.effort", "0", "--training.amp", "off"),
]


def start(arguments, *, restarts=0):
    """Start two processes by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node=2", f"--max-restarts={restarts}", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def train(circles, run, *flags):
    return ["-m", "--", "delineate", "train", str(circles), "--run", str(run), *FLAGS, *flags]


def end(process):
    """Return exit code and output; kill what hangs."""
    try:
        output, errors = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
        raise
    return process.returncode, output, errors


def results(run):
    with (run / "results.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "time"} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each of two processes wrote."""
    folder = tmp_path_factory.mktemp("joint")
    code, _, errors = end(start([joint_steps.__file__, str(folder)]))
    assert code == 0, errors
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.fixture(scope="module")
def together(circles, tmp_path_factory):
    """A run of two processes of two patches each, left alone, and what it printed."""
    run = tmp_path_factory.mktemp("together") / "run"
    code, output, errors = end(start(train(circles, run, "--training.batch-size", "2")))
    assert code == 0, errors
    return run, output, errors


@pytest.mark.parametrize(("number", "case"), list(enumerate(joint_steps.name_cases())), ids=str)
def test_each_loss_steps_as_with_the_joint_batch(both, number, case):
    loss, weights = joint_steps.make_step(*case)
    for part in both:
        part_loss, part_weights = part["steps"][number]
        assert part_loss == pytest.approx(loss, rel=0, abs=1e-9)
        for weight, expected in zip(part_weights, weights, strict=True):
            torch.testing.assert_close(weight, expected, rtol=0, atol=1e-9)


def test_row_10_all_refuse_what_one_cannot_make_and_go_on(both):
    for part in both:
        refused, is_same, loss = part["refused"]
        assert refused is None
        assert is_same
        assert loss == both[0]["refused"][2]


def test_row_10_all_know_which_images_hold_what_is_not_finite(both):
    for part in both:
        assert part["suspects"] == (("mine", "other"), ("other",))


def test_row_11_all_leave_with_what_to_do_where_one_runs_out_of_memory(both):
    for part in both:
        message, code, seconds = part["memory"]
        assert "a batch of 4 patches of 16x16 pixels does not fit into the memory of" in message
        assert "process 1" in message
        assert "lower training.batch_size, raise training.accumulation" in message
        assert code == 5
        assert seconds < 20


def test_statistics_of_batch_norm_are_the_same_everywhere(both):
    torch.manual_seed(0)
    moved = [part["statistics"] for part in both]
    for mine, other in zip(*moved, strict=True):
        assert torch.equal(mine, other)
    assert any(float(buffer.abs().sum()) for buffer in moved[0])


def test_scores_are_those_of_all_images(both):
    for part in both:
        assert part["scores"] == [joint_steps.score(count=count) for count in (5, 1)]


def test_values_travel(both):
    first, second = both
    assert first["shared"] == second["shared"] == 0
    assert (first["gathered"], second["gathered"]) == ([0, 1], [])
    assert first["joined"] == second["joined"] == list("01234")
    assert first["most"] == second["most"] == 1
    assert first["agreed"] == second["agreed"] == [True, False]


def test_row_7_all_leave_with_the_first_cause(both):
    first, second = both
    message, code, seconds = second["failed"]
    assert (message, code) == ("mask 7 is broken", 3)
    message, code, seconds = first["failed"]
    assert (message, code) == ("process 1 of 2 ended: mask 7 is broken", 3)
    assert seconds < 20


def test_row_7_a_process_that_is_gone_is_missed(both):
    message, code, seconds = both[0]["gone"]
    assert "gone without a word" in message
    assert code == 5
    assert seconds < 20


def test_batch_norms_are_synchronised_on_gpus_only():
    network = build_model("unet", 1, 1, width=2, depth=2, norm="batch")
    parameters = list(network.parameters())
    synchronise_norms(network, torch.device("cpu"))
    assert not any(isinstance(module, nn.SyncBatchNorm) for module in network.modules())
    synchronise_norms(network, torch.device("cuda"))
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms
    assert all(isinstance(norm, nn.SyncBatchNorm) for norm in norms)
    assert all(a is b for a, b in zip(parameters, network.parameters(), strict=True))


def test_a_run_of_two_is_the_run_of_one_with_twice_the_batch(circles, together, tmp_path):
    run, output, errors = together
    alone = tmp_path / "alone"
    command = [sys.executable, *train(circles, alone, "--training.batch-size", "4")]
    command.remove("--")
    subprocess.run(command, check=True, capture_output=True)
    for mine, expected in zip(results(run), results(alone), strict=True):
        for name, value in mine.items():
            assert float(value) == pytest.approx(float(expected[name]), rel=1e-3), name
    model, expected = (load_model(folder / FILE_NAME) for folder in (run, alone))
    weights = model.network.state_dict()
    for name, value in expected.network.state_dict().items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=1e-4)
    assert sorted(p.name for p in run.iterdir() if "tfevents" not in p.name) == sorted(
        p.name for p in alone.iterdir() if "tfevents" not in p.name
    )
    assert len(list(run.glob("events.out.tfevents.*"))) == 1
    assert output.count("best epoch") == 1
    assert errors.count("epoch 1/2") == 1


def test_row_7_a_killed_process_is_started_anew_and_nothing_shows(circles, together, tmp_path):
    run = tmp_path / "run"
    flags = ("--training.batch-size", "2", "--training.checkpoint-every", "0.001s")
    process = start(train(circles, run, *flags), restarts=1)
    victim = wait_for_checkpoint(process, run)
    os.kill(victim, signal.SIGKILL)
    code, _, errors = end(process)
    assert code == 0, errors
    assert "going on after step" in errors
    assert results(run) == results(together[0])
    mine, whole = (load_model(folder / FILE_NAME) for folder in (run, together[0]))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(mine.network.state_dict()[name], value), name
    assert not (run / FOLDER).exists()


def wait_for_checkpoint(process, run):
    """Return the process id of the second process once a checkpoint is there."""
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and process.poll() is None:
        if any(path.suffix != ".tmp" for path in (run / FOLDER).glob("step-*")):
            for child in psutil.Process(process.pid).children():
                if child.environ().get("RANK") == "1":
                    return child.pid
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint came: {end(process)}")


def test_one_error_ends_all_with_its_words(circles, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(circles, data)
    run = tmp_path / "run"
    run.mkdir()
    (run / "file").touch()
    code, _, errors = end(start(train(data, run)))
    assert code == 1  # torchrun's own
    assert "is not empty" in errors
    assert "exitcode  : 2" in errors
