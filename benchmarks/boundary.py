"""Time of the exact HD95 at 2048 x 2048 against MONAI's in the same run.

    python benchmarks/boundary.py [--threads 1] [--repeats 7] [--size 2048]

Ours and MONAI's alternate call by call and medians are shown, so that what else runs on the machine
hits both alike; CPU seconds stand beside. `filling` shapes reach over the whole frame: a disc that
fills it, blobs of three sizes. `small` ones are one cell, and the same cell a little off. The
numbers that both return must agree to MONAI's float32. Exits with 1 if a filling shape is not
1.5 times or a small one not 3 times as fast. With ``--all`` the time of everything that is measured
of an image (`image_scores`) is printed too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Callable

import cv2
import numpy as np
import torch
from monai.metrics import compute_hausdorff_distance

from delineate.metrics.boundary import hausdorff_distance
from delineate.metrics.images import image_scores
from delineate.task import Task

SMALLEST_RATIO = {"filling": 1.5, "small": 3.0}
Pair = tuple[np.ndarray, np.ndarray]


def draw_disc(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    rows, cols = np.ogrid[:size, :size]
    return (rows - centre[0]) ** 2 + (cols - centre[1]) ** 2 < radius**2


def draw_blobs(size: int, sigma: float) -> Pair:
    """Return a mask of half the frame and the same with its boundary moved here and there."""
    noise = [np.random.default_rng(seed).random((size, size), np.float32) for seed in range(2)]
    first, second = (cv2.GaussianBlur(values, (0, 0), sigma) for values in noise)
    moved = first + 0.3 * second
    return first > np.median(first), moved > np.median(moved)


def draw_cases(size: int) -> dict[str, tuple[str, Pair]]:
    middle = size / 2
    disc = draw_disc(size, (middle, middle), 0.49 * size)
    shifted = draw_disc(size, (middle - 4, middle - 14), 0.48 * size)
    cell, moved = draw_disc(size, (900, 1000), 40), draw_disc(size, (905, 1003), 38)
    return {
        "a disc that fills the frame": ("filling", (disc, shifted)),
        "large blobs": ("filling", draw_blobs(size, 40)),
        "blobs": ("filling", draw_blobs(size, 10)),
        "specks": ("filling", draw_blobs(size, 3)),
        "one cell": ("small", (cell, moved)),
        "one cell, nothing off": ("small", (cell, cell)),
    }


def measure(works: dict[str, Callable[[], float | None]], repeats: int) -> dict[str, list[float]]:
    """Return the median wall and CPU seconds and the value of each, taking turns."""
    wall: dict[str, list[float]] = {name: [] for name in works}
    cpu: dict[str, list[float]] = {name: [] for name in works}
    values = {}
    for _ in range(repeats):
        for name, work in works.items():
            start, cpu_start = time.perf_counter(), time.process_time()
            values[name] = float(work() or 0.0)
            cpu[name].append(time.process_time() - cpu_start)
            wall[name].append(time.perf_counter() - start)
    return {
        name: [statistics.median(wall[name]), statistics.median(cpu[name]), values[name]]
        for name in works
    }


def main() -> int:
    """Run all cases and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--all", action="store_true", help="time image_scores too")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(options.threads)
    warnings.simplefilter("ignore")  # MONAI warns of its own deprecated argument
    is_met = True
    for name, (kind, (mask, target)) in draw_cases(options.size).items():
        tensors = [torch.from_numpy(m)[None, None] for m in (mask, target)]

        def theirs(tensors: list[torch.Tensor] = tensors) -> float:
            found = compute_hausdorff_distance(*tensors, include_background=True, percentile=95)
            return float(found)

        def ours(mask: np.ndarray = mask, target: np.ndarray = target) -> float | None:
            return hausdorff_distance(mask, target, percentile=95)

        results = measure({"ours": ours, "MONAI": theirs}, options.repeats)
        if not np.isclose(results["ours"][2], results["MONAI"][2], rtol=1e-5):
            print(f"{name}: ours {results['ours'][2]}, MONAI {results['MONAI'][2]}")
            is_met = False
        ratio = results["MONAI"][0] / results["ours"][0]
        is_met &= ratio >= SMALLEST_RATIO[kind]
        print(
            f"{kind:8} {name:28} hd95 {results['ours'][2]:7.3f}  "
            + "  ".join(
                f"{n} {w * 1e3:7.1f} ms ({c * 1e3:.1f} CPU)" for n, (w, c, _) in results.items()
            )
            + f"  {ratio:.1f} times as fast",
            flush=True,
        )
        if options.all:
            for with_topology in (False, True):
                start = time.process_time()
                image_scores(
                    mask.astype(np.uint8),
                    target.astype(np.uint8),
                    Task("binary", ("object",)),
                    with_topology=with_topology,
                )
                taken = (time.process_time() - start) * 1e3
                print(f"{'':37} image_scores, topology {with_topology}: {taken:.0f} ms CPU")
    print(f"targets {'met' if is_met else 'missed'}: at least {SMALLEST_RATIO} times as fast")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
