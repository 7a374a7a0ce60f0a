import cv2
import numpy as np
import pytest

TINY = {
    "model": {"width": 4, "depth": 2},
    "training": {"patch_size": [64, 64], "batch_size": 4, "steps_per_epoch": 3},
    "data": {"num_workers": 0},
    "evaluation": {"tuning": {"effort": 0}},
}
"""Settings under which a run takes a second."""


def draw_circles(root, num_images=10, size=64):
    """Write grey images of bright circles and their masks."""
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for index in range(num_images):
        mask = np.zeros((size, size), np.uint8)
        for _ in range(3):
            row, col = rng.integers(8, size - 8, 2)
            cv2.circle(mask, (int(col), int(row)), int(rng.integers(5, 10)), 255, -1)
        noise = rng.normal(0, 20, mask.shape)
        image = np.clip(60 + 90 * (mask > 0) + noise, 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / "images" / f"{index:02d}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{index:02d}.png"), mask)
    return root


@pytest.fixture(scope="session")
def circles(tmp_path_factory):
    return draw_circles(tmp_path_factory.mktemp("data") / "circles")


@pytest.fixture
def tiny():
    return {section: dict(values) for section, values in TINY.items()}
