from __future__ import annotations

import numpy as np
import pytest

from delineate.data.image_digest import DIGEST_LENGTH, digest_pixels


@pytest.mark.parametrize("shape", [(5, 7, 3), (700, 900, 1), (1, 1000, 2)])
def test_equal_pixels_have_equal_digests_and_others_not(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    digest = digest_pixels(pixels)
    assert digest is not None
    assert len(digest) == DIGEST_LENGTH
    assert digest_pixels(np.asfortranarray(pixels)) == digest
    other = pixels.copy()
    other[0, 0, 0] ^= 1
    assert digest_pixels(other) != digest
    assert digest_pixels(pixels.astype(np.uint16)) != digest
    assert digest_pixels(pixels.reshape(-1, 1, shape[2])) != digest or shape[1] == 1


def test_an_image_of_one_colour_is_nobodys_copy() -> None:
    assert digest_pixels(np.full((30, 40, 3), 7, np.uint8)) is None
