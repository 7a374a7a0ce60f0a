import numpy as np
import pytest
import torch
import torch.nn.functional as F

from delineate.training.objective import balanced_class_weights, pick_nearest, supervise_heads


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (5, 3)])
def test_targets_shrink_to_the_nearest_pixel_and_gain_no_label(height, width):
    target = torch.randint(0, 5, (2, height, width))
    head = torch.zeros(2, 5, (height + 1) // 2, (width + 1) // 2)
    expected = F.interpolate(target[:, None].float(), head.shape[-2:], mode="nearest-exact")
    assert torch.equal(pick_nearest(target, head), expected[:, 0].long())
    assert pick_nearest(None, head) is None


def test_coarser_heads_weigh_half_as_much_each():
    heads = [
        torch.full((1, 1, 8 >> k, 8 >> k), float(value)) for k, value in enumerate((7, 14, 28))
    ]
    target = torch.zeros(1, 8, 8, dtype=torch.int64)
    loss = supervise_heads(lambda logits, t, v: logits.mean(), heads, target, None)
    assert loss.item() == pytest.approx((4 * 7 + 2 * 14 + 28) / 7)


def test_class_weights_are_inverse_square_roots_of_mean_one():
    weights = balanced_class_weights(np.array([900, 100, 0]))
    assert weights[2] == 1
    assert weights[:2].mean() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx(3)
