import pytest
import torch

from delineate.losses import build_loss
from delineate.models import build_model
from delineate.task import Task
from delineate.training.optimization import build_optimizer
from delineate.training.step import Stepper, choose_memory_format

CPU = torch.device("cpu")


def make_stepper(**settings):
    torch.manual_seed(0)
    network = build_model("unet", 1, 1, width=4, depth=2, **settings)
    optimizer = build_optimizer(network, learning_rate=1e-2, weight_decay=0.0)
    loss = build_loss("ce_dice", Task("binary", ("foreground",)))
    return network, Stepper(network, loss, optimizer, device=CPU, clip_norm=1.0)


def make_batch(seed=0, size=4):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(size, 1, 32, 32, generator=generator)
    valid = torch.ones(size, 1, 32, 32, dtype=torch.bool)
    return {"image": image, "target": (image[:, 0] > 0).long(), "valid": valid}


def test_steps_lower_the_loss():
    _, stepper = make_stepper(deep_supervision=1)
    losses = [stepper.step([make_batch()], 1e-2) for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_changes_nothing(bad):
    network, stepper = make_stepper()
    stepper.step([make_batch()], 1e-2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    batch = make_batch()
    batch["image"][0, 0, 3, 3] = bad
    assert stepper.step([make_batch(), batch], 1e-2) is None
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert stepper.step([make_batch()], 1e-2) is not None


def test_accumulation_is_the_step_of_the_mean_gradient():
    first, second = make_batch(1), make_batch(2)
    network, stepper = make_stepper(norm="none")
    stepper.step([first, second], 1e-2)
    gradients = [p.grad.clone() for p in network.parameters()]
    fresh, _ = make_stepper(norm="none")
    loss = build_loss("ce_dice", Task("binary", ("foreground",)))
    total = sum(loss(fresh(b["image"]), b["target"], b["valid"]) for b in (first, second)) / 2
    total.backward()
    torch.nn.utils.clip_grad_norm_(fresh.parameters(), 1.0)
    for gradient, parameter in zip(gradients, fresh.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-6)


def test_norms_over_images_keep_the_plain_memory_order():
    batch, group = (make_stepper(norm=norm)[0] for norm in ("batch", "group"))
    assert choose_memory_format(batch, CPU) == torch.channels_last
    assert choose_memory_format(group, CPU) == torch.contiguous_format
