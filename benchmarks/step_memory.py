r"""Compare the memory that a plan expects of a training step with what one takes.

    python benchmarks/step_memory.py

Each row is a process of its own, which makes three steps on one thread and tells how far its
resident memory rose above what it was with the libraries loaded.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from delineate.config import build_settings
from delineate.distributed import amp_dtype
from delineate.losses import build_loss
from delineate.memory import keep_freed_memory
from delineate.models import build_model
from delineate.recipes.appetite import measure_need
from delineate.task import Task
from delineate.training.optimization import WeightAverage, build_optimizer
from delineate.training.step import Stepper, choose_memory_format

FOLDED = {"stem_stride": 2}
ROWS: tuple[dict[str, Any], ...] = (
    {"model": FOLDED, "training": {"amp": "off"}},
    {"model": FOLDED, "training": {"amp": "auto"}},
    {"model": FOLDED, "training": {"amp": "auto", "batch_size": 16}},
    {"model": FOLDED, "training": {"amp": "off", "batch_size": 1}},
    {"training": {"amp": "off", "batch_size": 2}},
    {"training": {"amp": "auto"}},
    {"model": {"width": 16}, "training": {"amp": "off", "patch_size": [128, 128]}},
    {"model": {**FOLDED, "name": "resunet"}, "training": {"amp": "off"}},
)
STEPS = 3


def measure(chosen: dict[str, Any]) -> int:
    """Return the bytes that steps of these settings take in this process."""
    torch.set_num_threads(1)
    settings = build_settings(chosen)
    device = torch.device("cpu")
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    model = settings.model.model_dump()
    network = build_model(model.pop("name"), 3, 1, **model)
    network.to(memory_format=choose_memory_format(network, device))
    stepper = Stepper(
        network,
        build_loss("ce_dice", Task("binary", ("foreground",))),
        build_optimizer(network, learning_rate=1e-3, weight_decay=1e-4),
        device=device,
        amp_dtype=amp_dtype(device, settings.training.amp),
        clip_norm=1.0,
    )
    average = WeightAverage(network, 0.999)
    batch, (height, width) = settings.training.batch_size, settings.training.patch_size
    patches = {
        "image": torch.randn(batch, 3, height, width),
        "target": torch.randint(0, 2, (batch, height, width)),
        "valid": torch.ones(batch, 1, height, width, dtype=torch.bool),
    }
    with keep_freed_memory():
        for _ in range(STEPS):
            stepper.step([patches], 1e-3)
            average.update()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def main() -> None:
    if len(sys.argv) > 1:
        print(measure(json.loads(sys.argv[1])))
        return
    need = measure_need(in_channels=3, num_classes=1, device="cpu")
    for chosen in ROWS:
        command = [sys.executable, __file__, json.dumps(chosen)]
        taken = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        expected = need(build_settings(chosen)).step
        print(
            f"{json.dumps(chosen):75} expected {expected >> 20:5} MiB, "
            f"taken {taken >> 20:5} MiB, {expected / taken:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
