"""The guided filter is the paper's; the random field agrees with what it is made for."""

import sys

import numpy as np
import pytest
from scipy import ndimage

from delineate.errors import ShapeError, UsageError
from delineate.refinement import dense_crf, guided_filter


def reference(image: np.ndarray, probs: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Equations 5, 6 and 8 of the paper for colour guides (19, 20), box by box."""
    height, width, channels = image.shape
    guide = image.astype(np.float64) / 255
    slopes = np.zeros((height, width, channels, len(probs)))
    offsets = np.zeros((height, width, len(probs)))

    def box(row: int, col: int) -> tuple[slice, slice]:
        rows = slice(max(0, row - radius), row + radius + 1)
        return rows, slice(max(0, col - radius), col + radius + 1)

    for row, col in np.ndindex(height, width):
        inside = guide[box(row, col)].reshape(-1, channels)
        for k, prob in enumerate(probs):
            target = prob[box(row, col)].ravel()
            covariance = np.cov(inside.T, bias=True).reshape(channels, channels)
            crossed = (inside * target[:, None]).mean(0) - inside.mean(0) * target.mean()
            slope = np.linalg.solve(covariance + epsilon * np.eye(channels), crossed)
            slopes[row, col, :, k] = slope
            offsets[row, col, k] = target.mean() - slope @ inside.mean(0)
    found = np.zeros(probs.shape)
    for row, col in np.ndindex(height, width):
        near = box(row, col)
        mean_slopes, mean_offsets = slopes[near].mean((0, 1)), offsets[near].mean((0, 1))
        found[:, row, col] = guide[row, col] @ mean_slopes + mean_offsets
    return found.clip(0, 1)


def scene(channels: int = 3, size: tuple[int, int] = (26, 31)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    image = ndimage.gaussian_filter(rng.random((*size, channels)) * 900, (2, 2, 0))
    probs = ndimage.gaussian_filter(rng.random((3, *size)), (0, 3, 3))
    return image.clip(0, 255).astype(np.uint8), probs / probs.sum(axis=0)


@pytest.mark.parametrize("channels", [1, 3])
def test_equals_the_paper(channels: int) -> None:
    image, probs = scene(channels)
    found = guided_filter(image, probs, radius=3, edge=0.1)
    assert np.allclose(found, reference(image, probs, 3, 0.01), atol=1e-6)
    assert np.allclose(found.sum(axis=0), 1, atol=1e-5)


def test_looks_no_farther_than_twice_its_radius() -> None:
    image, probs = scene(size=(60, 50))
    whole = guided_filter(image, probs, radius=4)
    part = guided_filter(image[10:50, 9:45], probs[:, 10:50, 9:45], radius=4)
    assert np.allclose(part[:, 8:-8, 8:-8], whole[:, 18:42, 17:37], atol=1e-6)


@pytest.mark.parametrize("subsampling", [1, 4])
def test_blurred_edges_move_to_those_of_the_image(subsampling: int) -> None:
    rows, cols = np.mgrid[:90, :100]
    truth = (rows - 45) ** 2 + (cols - 50) ** 2 < 30**2
    noise = np.random.default_rng(0).normal(0, 6, (90, 100, 3))
    image = (np.where(truth[..., None], 190, 70) + noise).clip(0, 255).astype(np.uint8)
    probs = ndimage.gaussian_filter(np.roll(truth, 3, 1).astype(float), 4)[None]
    refined = guided_filter(image, probs, radius=12, edge=0.1, subsampling=subsampling)
    wrong_before = ((probs[0] >= 0.5) != truth).sum()
    wrong_after = ((refined[0] >= 0.5) != truth).sum()
    assert wrong_after < 0.2 * wrong_before


def test_constants_stay() -> None:
    image, _ = scene()
    probs = np.full((2, 26, 31), 0.3)
    for subsampling in (1, 2):
        assert np.allclose(guided_filter(image, probs, subsampling=subsampling), 0.3)


def test_what_does_not_fit_is_refused() -> None:
    image, probs = scene()
    with pytest.raises(ShapeError, match="does not fit"):
        guided_filter(image, probs[:, 1:])
    with pytest.raises(UsageError, match="subsampling 9"):
        guided_filter(image, probs, radius=8, subsampling=9)
    with pytest.raises(ShapeError, match="2 classes or more"):
        dense_crf(image, probs[:1])


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydensecrf", None)
    monkeypatch.setitem(sys.modules, "pydensecrf.densecrf", None)
    with pytest.raises(UsageError, match=r"pip install 'delineate\[crf\]'"):
        dense_crf(*scene())


def test_random_field_corrects_noise() -> None:
    pytest.importorskip("pydensecrf.densecrf", reason="the extra crf is not installed")
    rng = np.random.default_rng(0)
    truth = np.digitize(np.mgrid[:60, :90][1], [30, 60])
    image = (60 + 60 * truth[..., None] + rng.normal(0, 4, (60, 90, 3))).astype(np.uint8)
    probs = (
        np.eye(3)[truth].transpose(2, 0, 1) * 0.3
        + rng.dirichlet([1, 1, 1], (60, 90)).transpose(2, 0, 1) * 0.7
    )
    refined = dense_crf(image, probs)
    assert np.allclose(refined.sum(axis=0), 1, atol=1e-4)
    wrong_before = (probs.argmax(0) != truth).mean()
    assert (refined.argmax(0) != truth).mean() < 0.2 * wrong_before
