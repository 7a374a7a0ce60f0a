"""What a step takes in memory, and what is made of it."""

import json
import subprocess
import sys

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from delineate.config import build_settings
from delineate.models import build_model
from delineate.recipes.appetite import MemoryNeed, measure_appetite, measure_need
from delineate.recipes.memory import REDUCTIONS, fit_memory, raise_batch

GIB = 2**30
DEFAULTS = build_settings({"model": {"stem_stride": 2}})


def grown(settings):
    """A need that grows with everything that can be made smaller."""
    training, model, prediction = settings.training, settings.model, settings.prediction
    patch = training.patch_size[0] * training.patch_size[1] * training.batch_size
    tile = prediction.tile_size[0] * prediction.tile_size[1] * prediction.batch_size
    light = 0.8 if model.upsampling == "bilinear" else 1
    return MemoryNeed(int(patch * model.width * light), int(tile * model.width))


STEP = grown(DEFAULTS).step
TILES = grown(DEFAULTS).tiles
LADDER = [
    ("smaller batches", STEP / 2),
    ("light upsampling", STEP / 5),
    ("narrower network", STEP / 10),
    ("smaller patches", STEP / 64),
    ("fewer tiles at once", TILES / 4),
    ("smaller tiles", TILES / 16),
]
"""Each reduction with the room that only it, and those before it, come down to."""


def test_each_reduction_has_its_row_in_the_order_of_the_guide():
    assert [name for name, _ in LADDER] == [reduction.name for reduction in REDUCTIONS]


@pytest.mark.parametrize(("name", "room"), LADDER[:4])
def test_a_step_is_made_smaller_in_order_until_it_fits(name, room):
    fitting = fit_memory(DEFAULTS, grown, int(room))
    names = [one.name for one in fitting.decisions if "tiles" not in one.name]
    expected = [row for row, _ in LADDER[:4]]
    assert names == expected[: expected.index(name) + 1]
    assert grown(fitting.settings).step <= room
    for decision in fitting.decisions:
        assert "are free" in decision.reason


@pytest.mark.parametrize(("name", "room"), LADDER[4:])
def test_tiles_are_made_smaller_too(name, room):
    fitting = fit_memory(DEFAULTS, lambda of: MemoryNeed(0, grown(of).tiles), int(room))
    assert [one.name for one in fitting.decisions][-1] == name
    assert grown(fitting.settings).tiles <= room


def test_smaller_batches_are_added_up_to_the_same_number_of_patches():
    fitting = fit_memory(DEFAULTS, grown, STEP // 4)
    training = fitting.settings.training
    assert (training.batch_size, training.accumulation) == (1, 4)
    odd = build_settings({"training": {"batch_size": 7}})
    training = fit_memory(odd, grown, grown(odd).step // 2).settings.training
    assert (training.batch_size, training.accumulation) == (3, 3)


def test_where_there_is_room_or_nobody_knows_nothing_changes():
    for room in (STEP + TILES, None):
        fitting = fit_memory(DEFAULTS, grown, room)
        assert fitting.settings == DEFAULTS
        assert not fitting.decisions
    assert "is not known" in fitting.summary


def test_what_somebody_has_chosen_stays_and_what_does_not_fit_is_said():
    fixed = {reduction.setting for reduction in REDUCTIONS}
    fitting = fit_memory(DEFAULTS, grown, 1000, fixed=fixed, room_name="are allowed")
    assert fitting.settings == DEFAULTS
    assert "1000 bytes" in fitting.summary or "0 MiB are allowed" in fitting.summary
    assert "will probably not fit" in fitting.summary


def test_what_saves_next_to_nothing_is_passed_over():
    def without_upsampling(settings):
        need = grown(settings)
        heavy = build_settings({"training": settings.training.model_dump()})
        return MemoryNeed(grown(heavy).step * settings.model.width // 32, need.tiles)

    fitting = fit_memory(DEFAULTS, without_upsampling, STEP // 8)
    assert "light upsampling" not in [one.name for one in fitting.decisions]
    assert fitting.settings.model.width == 16


def test_a_gpu_with_room_gets_larger_batches_within_bounds():
    many = 1000 * 256 * 256
    for room, pixels, size in [
        (100 * STEP, many, 16),
        (4 * STEP, many, 8),
        # 8 patches would be more than a twentieth of these
        (100 * STEP, 100 * 256 * 256, 4),
    ]:
        fitting = raise_batch(DEFAULTS, grown, room, num_pixels=pixels)
        assert (fitting is None) == (size == 4)
        if fitting is not None:
            assert fitting.settings.training.batch_size == size
            assert f"{size} patches" in fitting.decisions[0].reason


def test_a_dry_run_counts_what_autograd_keeps():
    model = {"name": "unet", "width": 8, "depth": 2, "stem_stride": 2, "norm": "group"}
    appetite = measure_appetite(model, in_channels=3, num_classes=2, value_bytes=4)
    settings = dict(model)
    network = build_model(settings.pop("name"), 3, 2, **settings).train()
    weights = {parameter.data_ptr() for parameter in network.parameters()}
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = network(torch.zeros(2, 3, 96, 64))
    expected = sum(size for address, size in kept.items() if address not in weights)
    # but for the statistics of the norms, which do not grow with the pixels
    assert appetite.kept * 2 * 96 * 64 == pytest.approx(expected, rel=0.03)
    assert appetite.weights == sum(p.numel() * 4 for p in network.parameters())
    del logits


def test_a_dry_run_leaves_the_generator_as_it_was():
    before = torch.random.get_rng_state()
    need = measure_need(in_channels=1, num_classes=1, device="cpu")
    whole = build_settings({"training": {"amp": "off"}})
    half = build_settings({"training": {"amp": "bfloat16"}})
    assert need(whole).step > need(half).step
    assert torch.equal(before, torch.random.get_rng_state())


STEP_IN_A_PROCESS = """
import json, resource, sys
import torch
from delineate.losses import build_loss
from delineate.models import build_model
from delineate.task import Task
from delineate.memory import keep_freed_memory
from delineate.training.optimization import WeightAverage, build_optimizer
from delineate.training.step import Stepper

torch.set_num_threads(1)
model, batch, side = json.loads(sys.argv[1])
def step(batch, side, network):
    stepper = Stepper(network, build_loss("ce_dice", Task("binary", ("a",))),
        build_optimizer(network, learning_rate=1e-3, weight_decay=0), device=torch.device("cpu"))
    average = WeightAverage(network, 0.9)
    with keep_freed_memory():
        for _ in range(2):
            stepper.step([{"image": torch.zeros(batch, 3, side, side),
                "target": torch.zeros(batch, side, side, dtype=torch.int64),
                "valid": torch.ones(batch, 1, side, side, dtype=torch.bool)}], 1e-3)
            average.update()
step(1, 32, build_model("unet", 3, 1, width=8, depth=2))  # libraries are loaded
before = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
step(batch, side, build_model(model.pop("name"), 3, 1, **model))
# getrusage would count what the process that started this one had.
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM:"))
print(int(peak.split()[1]) * 1024 - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_estimate_is_more_than_a_step_takes_but_not_twice_that():
    model = {"name": "unet", "width": 32, "stem_stride": 2}
    done = subprocess.run(
        [sys.executable, "-c", STEP_IN_A_PROCESS, json.dumps([model, 2, 192])],
        capture_output=True,
        text=True,
        check=True,
    )
    measured = int(done.stdout)
    training = {"patch_size": [192, 192], "batch_size": 2, "amp": "off"}
    settings = build_settings({"model": model, "training": training})
    estimate = measure_need(in_channels=3, num_classes=1, device="cpu")(settings).step
    # what is taken once weighs heavily in a step as small as this
    assert measured < estimate < 2 * measured
