"""Row 10 of the faults: losses and weights that are not finite."""

import csv
import math

import pytest
import torch

from delineate.errors import DataError
from delineate.model_file import load_model
from delineate.training import step as step_module
from delineate.training.recovery import MAX_ROLLBACKS, Recovery, Suspects, find_suspects
from delineate.training.trainer import train


def results(run):
    with (run / "results.csv").open() as file:
        return [{k: v for k, v in row.items() if k != "time"} for row in csv.DictReader(file)]


def assert_finite(model):
    assert all(torch.isfinite(value).all() for value in model.network.state_dict().values())


def fail_above(monkeypatch, rate, *, from_call=0):
    """Make each step on a rate above a limit wreck the weights, as a divergence does."""
    former = step_module.Stepper._try_step
    calls = []

    def stepping(self, batches):
        calls.append(self._optimizer.param_groups[0]["lr"])
        loss = former(self, batches)
        if calls[-1] > rate and len(calls) > from_call:
            with torch.no_grad():
                self._parameters[0].mul_(math.inf)
        return loss

    monkeypatch.setattr(step_module.Stepper, "_try_step", stepping)
    return calls


def test_row_10_a_learning_rate_of_1e9_stops_with_names_and_leaves_no_bad_file(
    circles, tiny, tmp_path
):
    tiny["training"] |= {
        "learning_rate": 1e9,
        "steps_per_epoch": 12,
        "warmup_fraction": 0.0,
        "checkpoint_every": 1e-3,
    }
    run = tmp_path / "run"
    with pytest.raises(DataError) as caught:
        train(circles, run=run, epochs=8, overrides=tiny)
    assert f"going back to good weights {MAX_ROLLBACKS} times" in str(caught.value)
    assert "training.learning_rate (it is 1e+09)" in str(caught.value)
    if (run / "model.safetensors").exists():
        assert_finite(load_model(run))
    for path in run.glob("checkpoints/*/state.pt"):
        state = torch.load(path, weights_only=True)
        weights = [*state["stepper"]["network"].values(), *state["average"]["weights"].values()]
        assert all(torch.isfinite(value).all() for value in weights)


def test_row_10_a_run_that_diverges_goes_back_and_ends_well(circles, tiny, tmp_path, monkeypatch):
    tiny["training"] |= {"learning_rate": 0.01, "steps_per_epoch": 12, "warmup_fraction": 0.0}
    # a good first epoch, then wrecked weights until the rate is a tenth
    fail_above(monkeypatch, 0.002, from_call=14)
    run = tmp_path / "run"
    result = train(circles, run=run, epochs=4, seed=1, overrides=tiny)
    plan = (run / "plan.md").read_text()
    assert "back to the weights of epoch 1, the learning rate is 0.001 at its peak" in plan
    assert result.num_steps == 48
    rows = results(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert all(math.isfinite(float(row["val/loss"])) for row in rows)
    assert float(rows[-1]["lr"]) < 0.001
    assert_finite(load_model(run))


def test_row_10_before_the_first_epoch_it_goes_back_to_the_first_weights(
    circles, tiny, tmp_path, monkeypatch
):
    tiny["training"] |= {"learning_rate": 0.01, "steps_per_epoch": 14, "warmup_fraction": 0.0}
    fail_above(monkeypatch, 0.002)
    run = tmp_path / "run"
    train(circles, run=run, epochs=1, overrides=tiny)
    assert "back to the first weights" in (run / "plan.md").read_text()
    assert_finite(load_model(run))


def test_row_10_weights_wrecked_by_the_last_step_of_an_epoch_are_never_best(
    circles, tiny, tmp_path, monkeypatch
):
    tiny["training"] |= {"learning_rate": 0.01, "steps_per_epoch": 3, "warmup_fraction": 0.0}
    fail_above(monkeypatch, 5e-4, from_call=2)
    run = tmp_path / "run"
    train(circles, run=run, epochs=1, overrides=tiny)
    plan = (run / "plan.md").read_text()
    assert "After step 3 the weights or what they predict were no longer finite: back" in plan
    assert_finite(load_model(run))


def test_row_10_the_last_batch_is_named_with_what_is_damaged_in_it():
    image = torch.zeros(3, 1, 4, 4)
    image[1, 0, 2, 2] = torch.nan
    batches = [{"image": image, "source": torch.tensor([4, 2, 4])}]
    suspects = find_suspects(batches, ["a", "b", "c", "d", "e"])
    assert suspects == Suspects(("c", "e"), ("c",))
    recovery = Recovery(0.1, lambda: "", lambda batches: suspects, print)
    with pytest.raises(DataError, match=r"patches of c, e \(those of c hold values that are not"):
        recovery.go_back("no loss", 40, MAX_ROLLBACKS, batches)


def test_row_10_resuming_after_going_back_is_exact(circles, tiny, tmp_path, monkeypatch):
    tiny["training"] |= {
        "learning_rate": 0.01,
        "steps_per_epoch": 12,
        "warmup_fraction": 0.0,
        "checkpoint_every": 1e-3,
    }
    runs = [tmp_path / "whole", tmp_path / "cut"]
    with monkeypatch.context() as patch:
        fail_above(patch, 0.002)
        train(circles, run=runs[0], epochs=2, seed=1, overrides=tiny)
    with monkeypatch.context() as patch:
        calls = fail_above(patch, 0.002)

        now = step_module.Stepper._try_step

        def cutting(self, batches):
            if len(calls) == 16:
                raise InterruptedError
            return now(self, batches)

        patch.setattr(step_module.Stepper, "_try_step", cutting)
        with pytest.raises(InterruptedError):
            train(circles, run=runs[1], epochs=2, seed=1, overrides=tiny)
    with monkeypatch.context() as patch:
        fail_above(patch, 0.002)
        train(run=runs[1], resume=True)
    assert results(runs[1]) == results(runs[0])
    models = [(run / "model.safetensors").read_bytes() for run in runs]
    assert models[0] == models[1]
