"""Time of the losses, forward and backward, against MONAI's in the same run.

    python benchmarks/losses.py [--threads 2] [--repeats 9]

Losses alternate call by call and medians are shown, so that what else runs on the machine hits
both alike. Exits with 1 if Focal-Dice on 8x1x512x512 or CE+Dice on 4x12x512x512 takes more than
half of MONAI's time; the smaller batches, as in training on a CPU, are shown beside them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from monai.losses import DiceCELoss, DiceFocalLoss
from torch import Tensor

from delineate.losses import build_loss
from delineate.task import Task

LARGEST_RATIO = 0.5
CASES_WITH_TARGET = ("focal_dice 8x1x512x512", "ce_dice 4x12x512x512")


def main() -> int:
    """Run all cases and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    ratios = {}
    for batch_size, size in ((8, 512), (8, 256)):
        case = f"focal_dice {batch_size}x1x{size}x{size}"
        ratios[case] = report(case, compare_focal_dice(batch_size, size, arguments.repeats))
    for batch_size, num_classes, size in ((4, 12, 512), (8, 6, 256)):
        case = f"ce_dice {batch_size}x{num_classes}x{size}x{size}"
        seconds = compare_ce_dice(batch_size, num_classes, size, arguments.repeats)
        ratios[case] = report(case, seconds)
    is_met = all(ratios[case] <= LARGEST_RATIO for case in CASES_WITH_TARGET)
    print(f"target (a ratio of at most {LARGEST_RATIO}) {'met' if is_met else 'missed'}")
    return 0 if is_met else 1


def compare_focal_dice(batch_size: int, size: int, repeats: int) -> dict[str, float]:
    """Return seconds of ours and MONAI's on a binary batch with blobs as targets."""
    logits = torch.randn(batch_size, 1, size, size, requires_grad=True)
    target = (blobs(batch_size, size) > 0.4).long()
    channels = target.unsqueeze(1).float()
    ours = build_loss("focal_dice", Task("binary", ("foreground",)))
    theirs = DiceFocalLoss(sigmoid=True, batch=True, gamma=2.0, alpha=0.25)
    return measure(
        logits,
        {"ours": lambda: ours(logits, target, None), "MONAI": lambda: theirs(logits, channels)},
        repeats,
    )


def compare_ce_dice(batch_size: int, num_classes: int, size: int, repeats: int) -> dict[str, float]:
    """Return seconds of ours, MONAI's and cross-entropy alone on a multiclass batch."""
    logits = torch.randn(batch_size, num_classes, size, size, requires_grad=True)
    ranks = blobs(batch_size, size).flatten().argsort().argsort()
    target = (ranks * num_classes // ranks.numel()).reshape(batch_size, size, size)
    names = tuple(f"class {index}" for index in range(num_classes))
    ours = build_loss("ce_dice", Task("multiclass", names))
    theirs = DiceCELoss(softmax=True, to_onehot_y=True, batch=True)
    return measure(
        logits,
        {
            "ours": lambda: ours(logits, target, None),
            "MONAI": lambda: theirs(logits, target.unsqueeze(1)),
            "cross-entropy alone": lambda: F.cross_entropy(logits, target),
        },
        repeats,
    )


def blobs(batch_size: int, size: int) -> Tensor:
    """Return smooth random fields, (B, H, W): labels come in regions, not in noise."""
    coarse = torch.randn(batch_size, 1, size // 32, size // 32)
    return F.interpolate(coarse, size=(size, size), mode="bicubic").squeeze(1)


def measure(
    logits: Tensor, losses: dict[str, Callable[[], Tensor]], repeats: int
) -> dict[str, float]:
    """Return the median seconds of forward and backward of each loss."""
    times: dict[str, list[float]] = {name: [] for name in losses}
    for repeat in range(repeats + 1):
        for name, loss in losses.items():
            logits.grad = None
            start = time.perf_counter()
            loss().backward()
            if repeat > 0:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def report(case: str, seconds: dict[str, float]) -> float:
    """Print a case and return the ratio of our time to MONAI's."""
    ratio = seconds["ours"] / seconds["MONAI"]
    shown = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in seconds.items())
    print(f"{case}: {shown}; ratio {ratio:.2f}")
    return ratio


if __name__ == "__main__":
    sys.exit(main())
