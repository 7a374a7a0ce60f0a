import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from delineate.errors import DataError
from delineate.training.checkpoint import (
    FOLDER,
    META,
    STATE,
    find_checkpoint,
    save_checkpoint,
    sweep_debris,
)


def state_of(step):
    return {"weights": torch.full((50, 50), float(step)), "step": step, "nested": {"none": None}}


def save(run, *steps):
    for step in steps:
        save_checkpoint(run, step, state_of(step), {"epoch": step // 10})


def test_what_was_saved_is_loaded(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"best")
    save_checkpoint(
        tmp_path, 7, state_of(7), {"epoch": 2}, files={"best.bin": tmp_path / "model.bin"}
    )
    found = find_checkpoint(tmp_path)
    assert (found.step, found.facts, found.damaged) == (7, {"epoch": 2}, ())
    state = found.load_state()
    assert torch.equal(state["weights"], state_of(7)["weights"])
    assert state["nested"] == {"none": None}
    assert found.path_of("best.bin").read_bytes() == b"best"


def test_a_file_of_the_run_may_be_replaced_after(tmp_path):
    model = tmp_path / "model.bin"
    model.write_bytes(b"old")
    save_checkpoint(tmp_path, 1, state_of(1), {}, files={"best.bin": model})
    (tmp_path / "new.bin").write_bytes(b"new")
    (tmp_path / "new.bin").replace(model)
    assert find_checkpoint(tmp_path).path_of("best.bin").read_bytes() == b"old"


def test_the_newest_two_are_kept(tmp_path):
    save(tmp_path, 10, 20, 100, 30)
    assert sorted(path.name for path in (tmp_path / FOLDER).iterdir()) == ["step-100", "step-30"]
    assert find_checkpoint(tmp_path).step == 100


def flip_a_bit(folder):
    path = folder / STATE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGES = {
    "flipped bit": (flip_a_bit, "has changed"),
    "truncated": (lambda folder: os.truncate(folder / STATE, 100), "has changed"),
    "no meta": (lambda folder: (folder / META).unlink(), "meta.json is missing"),
    "cut meta": (lambda folder: os.truncate(folder / META, 20), "cannot be read"),
    "no state": (lambda folder: (folder / STATE).unlink(), "state.pt is missing"),
    "other version": (
        lambda folder: (folder / META).write_text(
            json.dumps({**json.loads((folder / META).read_text()), "format_version": 99})
        ),
        "format version is 99",
    ),
    "path outside": (
        lambda folder: (folder / META).write_text(
            json.dumps(
                {**json.loads((folder / META).read_text()), "sha256": {"../step-1/state.pt": "0"}}
            )
        ),
        "is missing",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_row_5_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, name):
    damage, words = DAMAGES[name]
    save(tmp_path, 1, 2)
    damage(tmp_path / FOLDER / "step-2")
    found = find_checkpoint(tmp_path)
    assert found.step == 1
    assert len(found.damaged) == 1
    assert "step-2" in found.damaged[0]
    assert words in found.damaged[0]
    damage(tmp_path / FOLDER / "step-1")
    with pytest.raises(DataError, match="no checkpoint that is whole"):
        find_checkpoint(tmp_path)


def test_without_checkpoints_the_error_lists_what_is_there(tmp_path):
    (tmp_path / "config.yaml").touch()
    with pytest.raises(DataError, match=r"holds config\.yaml"):
        find_checkpoint(tmp_path)
    with pytest.raises(DataError, match="holds nothing"):
        find_checkpoint(tmp_path / "missing")


def test_row_1_debris_is_swept_and_never_taken_for_a_checkpoint(tmp_path):
    save(tmp_path, 5)
    debris = tmp_path / FOLDER / "step-9.tmp"
    debris.mkdir()
    (debris / STATE).write_bytes(b"half")
    assert find_checkpoint(tmp_path).step == 5
    sweep_debris(tmp_path)
    assert not debris.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_row_1_of_25_kills_at_random_instants_none_leaves_a_bad_checkpoint(tmp_path):
    # One process loads torch, and forks what is killed: 25 starts of Python would take a minute.
    program = textwrap.dedent(
        """
        import itertools, os, random, signal, sys, time, torch
        from pathlib import Path
        from delineate.training.checkpoint import find_checkpoint, save_checkpoint, sweep_debris

        run, draws = Path(sys.argv[1]), random.Random(0)
        torch.set_num_threads(1)
        state = {"weights": torch.zeros(300, 300)}
        start = time.monotonic()
        for step in range(1, 6):
            save_checkpoint(run, step, state | {"step": step}, {"step": step})
        seconds = (time.monotonic() - start) / 5
        last, num_debris = 5, 0
        for trial in range(25):
            child = os.fork()
            if not child:
                for step in itertools.count(last + 1):
                    weights = torch.full((300, 300), float(step))
                    save_checkpoint(run, step, {"weights": weights, "step": step}, {"step": step})
            time.sleep(seconds * draws.uniform(0.3, 3))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            found = find_checkpoint(run)
            loaded = found.load_state()
            assert found.facts["step"] == loaded["step"] == found.step >= last
            assert not found.damaged, found.damaged
            assert trial == 0 or found.step == 5 or bool((loaded["weights"] == found.step).all())
            num_debris += len(list((run / "checkpoints").glob("*.tmp")))
            sweep_debris(run)
            assert not list((run / "checkpoints").glob("*.tmp"))
            last = found.step
        print(last, num_debris)
        """
    )
    process = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    last, num_debris = map(int, process.stdout.split())
    assert last > 5  # checkpoints were finished
    assert num_debris > 5  # and kills met others in the making


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs limits on the size of files")
def test_row_4_a_limit_on_files_keeps_the_former_checkpoint_and_says_so(tmp_path):
    save(tmp_path, 1)
    program = textwrap.dedent(
        """
        import resource, signal, sys, torch
        from pathlib import Path
        from delineate.errors import ResourceError
        from delineate.training.checkpoint import save_checkpoint
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            save_checkpoint(Path(sys.argv[1]), 2, {"weights": torch.zeros(300, 300)}, {})
        except ResourceError as error:
            print(error)
            sys.exit(error.exit_code)
        """
    )
    process = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert process.returncode == 5, process.stderr
    assert "disk full" in process.stdout
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["step-1"]
    assert find_checkpoint(tmp_path).step == 1
