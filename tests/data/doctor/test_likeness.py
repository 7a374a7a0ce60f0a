"""Hashes against a reference transform, and copies told from look-alikes."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from delineate.data.doctor.likeness import (
    MAX_DISTANCE,
    MIN_AGREEMENT,
    MIN_FIT,
    NUM_ORIENTATIONS,
    SIGHT,
    compare_pictures,
    describe_orientation,
    find_candidates,
    fit_thumbnails,
    hash_pictures,
    orient,
)
from delineate.data.sample_aerial import draw_aerial
from delineate.data.sample_cells import draw_cells

Picture = np.ndarray


@cache
def scene(seed: int) -> Picture:
    """Return an aerial scene in grey, (SIGHT, SIGHT)."""
    rgb, _ = draw_aerial(np.random.default_rng([11, seed]), SIGHT)
    return rgb.mean(axis=2).astype(np.uint8)


def thumbnail(picture: Picture) -> Picture:
    return np.asarray(cv2.resize(picture, (64, 64), interpolation=cv2.INTER_AREA))


def agreement(first: Picture, second: Picture) -> float:
    """Return what the doctor would find: 0 where the pair does not even become a candidate."""
    thumbnails = np.stack([thumbnail(first), thumbnail(second)])
    candidates = find_candidates(*hash_pictures(thumbnails))
    if not candidates:
        return 0.0
    [candidate] = candidates
    fit = fit_thumbnails(thumbnails[0], orient(thumbnails[1], candidate.orientation))
    if fit.correlation < MIN_FIT:
        return 0.0
    return compare_pictures(first, orient(second, candidate.orientation), fit)


def test_hash_is_the_sign_of_low_frequencies_about_their_median() -> None:
    pictures = np.stack([thumbnail(scene(seed)) for seed in range(3)])
    hashes, has_detail = hash_pictures(pictures)
    assert has_detail.all()
    for picture, found in zip(pictures, hashes, strict=True):
        for orientation in range(NUM_ORIENTATIONS):
            turned = orient(picture, orientation).astype(np.float64)
            waves = dctn(turned, norm="ortho")[:16, :16].ravel()
            expected = waves > np.median(waves[1:])
            expected[0] = False
            bits = np.unpackbits(found[orientation].view(np.uint8)).astype(bool)
            # float32 here, float64 there: a coefficient at the median itself may fall either way.
            assert (bits != expected).sum() <= 2


@given(orientation=st.integers(0, NUM_ORIENTATIONS - 1), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=20)
def test_a_turned_picture_has_the_hash_of_that_orientation(orientation: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = np.asarray(cv2.resize(rng.integers(0, 256, (9, 9), np.uint8), (64, 64)))
    hashes, _ = hash_pictures(np.stack([orient(picture, orientation), picture]))
    differing = np.bitwise_count(hashes[0, 0] ^ hashes[1, orientation]).sum()
    assert differing <= 2
    [candidate] = find_candidates(hashes, np.array([True, True]))
    assert candidate.distance <= 2


def test_orientations_are_the_eight_of_a_square() -> None:
    picture = np.arange(6, dtype=np.uint8).reshape(2, 3)
    expected = [
        *(picture, picture[:, ::-1], picture[::-1], np.rot90(picture, 2)),
        *(picture.T, np.rot90(picture, -1), np.rot90(picture), np.rot90(picture, 2).T),
    ]
    for orientation, turned in enumerate(expected):
        np.testing.assert_array_equal(orient(picture, orientation), turned)
    assert describe_orientation(0) == ""
    assert describe_orientation(1) == "mirrored"
    assert describe_orientation(3) == "turned by 180 degrees"
    assert "90 degrees" in describe_orientation(5)
    assert "90 degrees" in describe_orientation(6)


@pytest.mark.parametrize("seed", range(3))
def test_copies_agree(seed: int) -> None:
    picture = scene(seed)
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])
    cropped = picture[9:, :-14]
    copies = {
        "jpeg": cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE),
        "dimmed": (picture * 0.5 + 20).astype(np.uint8),
        "mirrored": picture[:, ::-1],
        "turned": np.rot90(picture),
        "small": cv2.resize(
            cv2.resize(picture, (90, 90), interpolation=cv2.INTER_AREA), (256, 256)
        ),
        "cropped": cv2.resize(cropped, (SIGHT, SIGHT), interpolation=cv2.INTER_LINEAR),
    }
    for name, copy in copies.items():
        assert agreement(picture, np.ascontiguousarray(copy)) >= MIN_AGREEMENT, name


def test_pictures_of_one_kind_do_not_agree() -> None:
    pictures = [scene(seed) for seed in range(6)]
    pictures += [draw_cells(np.random.default_rng([3, seed]), SIGHT)[0] for seed in range(10)]
    scores = [
        agreement(one, other)
        for index, one in enumerate(pictures)
        for other in pictures[index + 1 :]
    ]
    assert max(scores) < 0.5


def test_a_common_frame_makes_no_copies() -> None:
    """Dashboards, scale bars and the dark around a round field look alike at low resolution."""
    rows, cols = np.mgrid[:SIGHT, :SIGHT] - SIGHT / 2
    inside = np.hypot(rows, cols) < 0.45 * SIGHT
    pictures = []
    for seed in range(6):
        picture = np.where(inside, scene(seed) // 3 + 80, 0).astype(np.uint8)
        cv2.putText(picture, "2 mm", (4, 250), cv2.FONT_HERSHEY_PLAIN, 1.5, 255, 2)
        pictures.append(picture)
    thumbnails = np.stack([thumbnail(picture) for picture in pictures])
    hashes, has_detail = hash_pictures(thumbnails)
    assert find_candidates(hashes, has_detail, max_distance=128)  # the hash alone would say so
    for index, one in enumerate(pictures):
        for other in pictures[index + 1 :]:
            assert agreement(one, other) < MIN_AGREEMENT


def test_pictures_without_detail_are_no_candidates() -> None:
    flat = np.full((2, 64, 64), 90, np.uint8)
    flat[1, 3, 3] = 91
    hashes, has_detail = hash_pictures(flat)
    assert not has_detail.any()
    assert find_candidates(hashes, has_detail) == []


def test_candidates_are_those_of_every_pair_counted_one_by_one() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, (12, NUM_ORIENTATIONS, 4), np.int64).astype(np.uint64)
    hashes[7, 0] = hashes[2, 0] ^ np.uint64(5)
    hashes[9, 3] = hashes[4, 0]
    found = find_candidates(hashes, np.ones(12, bool), max_neighbours=100)
    expected = []
    for first in range(12):
        for second in range(first + 1, 12):
            distances = [
                sum(int(a ^ b).bit_count() for a, b in zip(hashes[first, 0], row, strict=True))
                for row in hashes[second]
            ]
            if min(distances) <= MAX_DISTANCE:
                expected.append((min(distances), first, second, int(np.argmin(distances))))
    assert [(c.distance, c.first, c.second, c.orientation) for c in found] == sorted(expected)
    assert {(c.first, c.second) for c in found} >= {(2, 7), (4, 9)}
