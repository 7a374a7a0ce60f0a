"""What each of two processes computes of the joint batch, for test_processes.py.

Run by torchrun; writes what came out as `<rank>.pt` into the folder that is its argument.
"""

import os
import sys
import time
from pathlib import Path

import torch

from delineate.errors import DataError, DelineateError
from delineate.evaluation.scoring import LabelledImage, score_samples
from delineate.losses import LOSSES, build_loss
from delineate.models import build_model
from delineate.processes import ALONE, join_team
from delineate.task import Task
from delineate.training.recovery import find_suspects
from delineate.training.step import Stepper

CPU = torch.device("cpu")
TASKS = {
    "binary": Task(kind="binary", class_names=("thing",)),
    "multiclass": Task(kind="multiclass", class_names=("back", "a", "b"), background="back"),
    "multilabel": Task(kind="multilabel", class_names=("a", "b")),
}
REDUCTIONS = ("image", "batch", "batch_class")
SIZE = 16


def name_cases():
    """Yield (task, loss, settings) of every loss, in each reduction that it has."""
    for kind in TASKS:
        for name in LOSSES:
            if name == "weighted_sum":
                terms = [
                    {"weight": 0.7, "loss": {"name": "dice"}},
                    {"weight": 0.3, "loss": {"name": "boundary"}},
                ]
                yield kind, name, {"terms": terms}
            elif name in ("cross_entropy", "focal", "boundary"):
                yield kind, name, {}
            else:
                for reduction in REDUCTIONS:
                    yield kind, name, {"reduction": reduction}


def draw_batch(kind, number):
    """Return a batch of four images; unlike halves, pixels that do not count, absent classes."""
    task = TASKS[kind]
    rng = torch.Generator().manual_seed(number)
    image = torch.randn(4, 1, SIZE, SIZE, generator=rng, dtype=torch.float64)
    shape = (4, task.num_classes, SIZE, SIZE) if kind == "multilabel" else (4, SIZE, SIZE)
    high = task.num_classes if kind == "multiclass" else 2
    target = torch.randint(0, high, shape, generator=rng)
    target[3] = 0  # the last image is empty
    if kind == "multilabel":
        target[2:, 0] = 0  # one class is on the first process only
    if kind == "multiclass":
        target[target == 2] = 1 if number else 2  # one class is nowhere in the second batch
    valid = torch.rand(4, 1, SIZE, SIZE, generator=rng) > 0.2
    valid[0, :, :12] = False
    return {"image": image, "target": target, "valid": valid}


def build_stepper(kind, name, settings, team=ALONE):
    """Return network and stepper, the same every time."""
    torch.manual_seed(0)
    task = TASKS[kind]
    network = build_model(
        "unet", 1, task.num_classes, width=2, depth=2, norm="group", deep_supervision=False
    ).double()
    # gradients themselves, where Adam would blow up the rounding of those that are nothing
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    weights = torch.linspace(0.5, 1.5, task.num_classes)
    loss = build_loss(name, task, class_weights=weights, **settings)
    return network, Stepper(network, loss, optimizer, device=CPU, team=team)


def make_step(kind, name, settings, team=ALONE):
    """Return loss and weights of a step of two batches; a process takes its share of each."""
    network, stepper = build_stepper(kind, name, settings, team)
    count = 4 // team.size
    mine = slice(team.rank * count, (team.rank + 1) * count)
    batches = [draw_batch(kind, number) for number in range(2)]
    shares = [{key: value[mine] for key, value in batch.items()} for batch in batches]
    loss = stepper.step(shares, 0.1)
    return loss, [p.detach().clone() for p in network.parameters()]


def refuse_steps(team):
    """Return what happens to a NaN on the last process, and to the step after it."""
    network, stepper = build_stepper("binary", "dice", {}, team)
    before = [p.detach().clone() for p in network.parameters()]
    batch = draw_batch("binary", 0)
    broken = dict(batch)
    if team.rank == team.size - 1:
        broken["image"] = torch.full_like(batch["image"], torch.nan)
    refused = stepper.step([batch, broken], 0.1)
    is_same = all(map(torch.equal, before, network.parameters()))
    return refused, is_same, stepper.step([batch], 0.1)


def name_suspects(team):
    """Return which images a refused step is blamed on; that of the last process is damaged."""
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 1, 1] = torch.nan if team.rank == team.size - 1 else 0
    batch = {"image": image, "source": torch.tensor([team.rank])}
    suspects = find_suspects([batch], ["mine", "other"], team)
    return suspects.names, suspects.damaged


def run_out_of_memory(team):
    """Make a step in which the memory of the last process ends."""
    network, stepper = build_stepper("binary", "dice", {}, team)
    if team.rank == team.size - 1:

        def forward_heads(images):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

        network.forward_heads = forward_heads
    stepper.step([draw_batch("binary", 0)], 0.1)


def average_statistics(team):
    """Return the statistics of batch norm after a step."""
    torch.manual_seed(0)
    network = build_model("unet", 1, 1, width=2, depth=2, norm="batch")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    loss = build_loss("dice", TASKS["binary"])
    stepper = Stepper(network, loss, optimizer, device=CPU, team=team)
    batch = draw_batch("binary", 0)
    batch["image"] = batch["image"].float()[2 * team.rank :][:2]
    batch = {key: value[:2] for key, value in batch.items()}
    stepper.step([batch], 0.1)
    return [buffer.clone() for buffer in network.buffers()]


class BrightPixels:
    """Takes the pixels themselves as probabilities."""

    def predict_probs(self, pixels, valid=None):
        return pixels.transpose(2, 0, 1)


def score(team=ALONE, count=5):
    """Return the scores of images that the processes have dealt out."""
    rng = torch.Generator().manual_seed(0)
    samples = []
    for index in range(count):
        pixels = torch.rand(8, 8 + index, 1, generator=rng).numpy()
        target = (torch.rand(8, 8 + index, generator=rng) > 0.5).byte().numpy()
        samples.append(LabelledImage(f"{index}", pixels, target))
    mine = [samples[index] for index in team.turns(count)]
    return score_samples(BrightPixels(), mine, TASKS["binary"], team=team).as_dict()


def main(folder):
    with join_team("cpu") as team:
        results = {
            "steps": [make_step(*case, team) for case in name_cases()],
            "refused": refuse_steps(team),
            "suspects": name_suspects(team),
            "statistics": average_statistics(team),
            "scores": [score(team, count) for count in (5, 1)],
            "shared": team.share(team.rank),
            "gathered": team.gather(team.rank),
            "joined": team.join([f"{index}" for index in team.turns(5)]),
            "most": team.most(team.rank),
            "agreed": [team.agree(True), team.agree(team.is_main)],
        }
    results["failed"] = leave(lambda team: team.is_main or fail("mask 7 is broken"))
    results["memory"] = leave(run_out_of_memory)
    path = Path(folder) / f"{team.rank}.pt"
    if team.rank == 1:
        torch.save(results, path)
    results["gone"] = leave(lambda team: team.is_main or os._exit(0))
    torch.save(results, path)


def fail(message):
    raise DataError(message)


def leave(action):
    """Return the error that a process leaves with when all do something that fails in one."""
    start = time.monotonic()
    try:
        with join_team("cpu") as team:
            action(team)
            team.share(None)
    except DelineateError as error:
        return str(error), error.exit_code, time.monotonic() - start


if __name__ == "__main__":
    main(sys.argv[1])
