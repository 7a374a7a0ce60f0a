"""Time the usual augmentation of 512 x 512 patches, image and mask, on one thread.

Run on a quiet machine: ``python benchmarks/augmentation.py [--size 512] [--seconds 5]``. Prints
images per second of ours (cutting from a larger image, flips, turns, warp, intensity and
normalisation), with the defaults and with every operation on, and of albumentations with the same
odds and ranges where it can be imported: as the ratio ours / theirs. The two alternate in short
rounds, so that other load on the machine meets both alike.

The peer has its own environment (``pip install albumentations==2.0.8`` with the same OpenCV as
ours), in which this script runs with ``PYTHONPATH=src``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np

from delineate.augmentation import IntensityAugmentation, SpatialAugmentation, cut_patch
from delineate.preprocessing import Preprocessing

Work = Callable[[int], object]


def make_scene(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a coloured image, twice as large as a patch, and a mask of its bright half."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (2 * size, 2 * size, 3)).astype(np.uint8)
    smooth = cv2.normalize(cv2.GaussianBlur(values, (0, 0), 6), None, 0, 255, cv2.NORM_MINMAX)
    return smooth, (smooth[..., 0] > 128).astype(np.uint8)


def build_ours(image: np.ndarray, mask: np.ndarray, size: int, *, is_full: bool) -> Work:
    """Return what makes one patch the way that training does."""
    spatial, intensity = SpatialAugmentation(), IntensityAugmentation()
    if is_full:
        spatial = SpatialAugmentation(warp=1, elastic=1)
        intensity = IntensityAugmentation(odds=1, blur=1, noise=1, jpeg=1)
    preprocessing = Preprocessing(3)

    def work(index: int) -> object:
        rng = np.random.default_rng((0, 0, index))
        draw = spatial.draw(rng, (size, size))
        corner = (int(rng.integers(size)), int(rng.integers(size)))
        patch, target, valid = cut_patch(image, mask, corner, (size, size), draw)
        return preprocessing(intensity(patch, rng)), target, valid

    return work


def build_peer(image: np.ndarray, mask: np.ndarray, size: int, *, is_full: bool) -> Work | None:
    """Return the same mix by albumentations; None where it is not installed."""
    try:
        import albumentations as peer
    except ImportError:
        return None
    rare, often = (1.0, 1.0) if is_full else (0.1, 0.5)
    steps = [
        peer.RandomCrop(size, size),
        peer.HorizontalFlip(p=0.5),
        peer.VerticalFlip(p=0.5),
        peer.RandomRotate90(p=0.75),
        peer.Affine(
            scale=(0.8, 1.25), rotate=(-15, 15), shear=(-5, 5), mask_interpolation=0, p=often
        ),
        peer.ColorJitter(0.2, 0.2, 0.0, 0.0, p=often),
        peer.RandomGamma(gamma_limit=(82, 122), p=often),
        peer.RGBShift(13, 13, 13, p=often),
        peer.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 1.5), p=rare),
        peer.GaussNoise(std_range=(0.0, 0.05), p=rare),
        peer.Normalize(mean=(0.5,) * 3, std=(0.5,) * 3),
    ]
    if is_full:
        steps.insert(5, peer.ElasticTransform(alpha=60, sigma=16, p=1))
        steps.insert(-1, peer.ImageCompression(quality_range=(50, 95), p=1))
    pipeline = peer.Compose(steps, seed=0)

    def work(index: int) -> object:
        del index
        out = pipeline(image=image, mask=mask)
        return np.ascontiguousarray(out["image"].transpose(2, 0, 1)), out["mask"]

    return work


def measure(works: list[Work], seconds: float, rounds: int = 5) -> list[float]:
    """Return each one's images per second, the median over alternating rounds."""
    rates: list[list[float]] = [[] for _ in works]
    index = 0
    for work in works:
        work(0)
    for _ in range(rounds):
        for found, work in zip(rates, works, strict=True):
            start, count = time.perf_counter(), 0
            while time.perf_counter() - start < seconds / rounds:
                index, count = index + 1, count + 1
                work(index)
            found.append(count / (time.perf_counter() - start))
    return [float(np.median(found)) for found in rates]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each row and library")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    image, mask = make_scene(options.size)
    print(f"{options.size} x {options.size} image and mask, one thread, images/s")
    for name, is_full in (("usual mix", False), ("every operation", True)):
        works = [build_ours(image, mask, options.size, is_full=is_full)]
        peer = build_peer(image, mask, options.size, is_full=is_full)
        rates = measure([*works, peer] if peer else works, options.seconds)
        line = f"{name:16s} ours {rates[0]:7.1f}"
        if peer:
            line += f"   albumentations {rates[1]:7.1f}   ratio {rates[0] / rates[1]:.2f}"
        print(line)


if __name__ == "__main__":
    main()
