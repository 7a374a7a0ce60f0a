import pytest
import torch

from delineate.errors import ResourceError
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
def test_row_10_a_loss_that_is_not_finite_changes_nothing(bad):
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


class OutOfMemory:
    """Makes the network of a stepper fail on batches above a size, as a full memory does."""

    def __init__(self, network, most, error):
        self.former, self.most, self.error = network.forward_heads, most, error
        self.num_failures = 0
        network.forward_heads = self

    def __call__(self, images):
        if len(images) > self.most:
            self.num_failures += 1
            raise self.error
        return self.former(images)


CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate")
GPU_ERROR = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


@pytest.mark.parametrize("error", [CPU_ERROR, GPU_ERROR], ids=["cpu", "gpu"])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ce_dice", {}),
        ("dice", {"reduction": "batch"}),
        ("dice", {"reduction": "image"}),
        ("tversky", {"reduction": "batch_class"}),
        ("focal_tversky", {"reduction": "batch"}),
        ("boundary", {}),
    ],
)
def test_row_11_out_of_memory_keeps_the_step_of_the_whole_batch(name, settings, error):
    results = []
    for most in (8, 2):
        torch.manual_seed(0)
        network = build_model(
            "unet", 1, 1, width=4, depth=2, norm="group", dropout=0.0, deep_supervision=1
        ).double()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        loss = build_loss(name, Task("binary", ("foreground",)), **settings)
        said = []
        stepper = Stepper(network, loss, optimizer, device=CPU, report=said.append)
        memory = OutOfMemory(network, most, error)
        losses = []
        for seed in range(2):
            batch = make_batch(seed, size=7)
            batch["image"] = batch["image"].double()
            batch["valid"][0, :, :20] = False  # parts of unlike weight
            losses.append(stepper.step([batch, batch], 0.1))
        results.append((losses, [p.detach().clone() for p in network.parameters()]))
    assert memory.num_failures == 2  # at 7 and 4; the second step knows
    (sentence,) = said
    assert "does not hold a batch of 7 patches: from now on 2 at a time" in sentence
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-12)
    for whole, parts in zip(results[0][1], results[1][1], strict=True):
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


def test_row_11_dropout_drops_the_same_in_both_passes():
    network, stepper = make_stepper(dropout=0.5, norm="none")
    OutOfMemory(network, 2, GPU_ERROR)
    seen = []
    network.heads[0].register_forward_hook(lambda head, inputs, out: seen.append(out.detach()))
    stepper.step([make_batch()], 1e-2)
    assert len(seen) == 4
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])


def test_row_11_what_does_not_fit_at_all_says_what_to_do():
    network, stepper = make_stepper()
    before = [p.detach().clone() for p in network.parameters()]
    OutOfMemory(network, 0, GPU_ERROR)
    with pytest.raises(ResourceError, match=r"single patch of 32x32 .* lower training\.patch_size"):
        stepper.step([make_batch()], 1e-2)
    assert all(map(torch.equal, before, network.parameters()))


def test_row_11_batch_norm_sees_the_parts_and_its_statistics_move_once_for_each():
    network, stepper = make_stepper(norm="batch")
    OutOfMemory(network, 2, GPU_ERROR)
    stepper.step([make_batch()], 1e-2)
    moved = {int(b) for name, b in network.named_buffers() if name.endswith("num_batches_tracked")}
    assert moved == {2}


def test_row_11_the_parts_are_remembered_by_a_checkpoint():
    network, stepper = make_stepper()
    OutOfMemory(network, 2, GPU_ERROR)
    stepper.step([make_batch()], 1e-2)
    other_network, other = make_stepper()
    memory = OutOfMemory(other_network, 2, GPU_ERROR)
    other.restore(stepper.state())
    other.step([make_batch(1)], 1e-2)
    assert memory.num_failures == 0


def test_other_errors_of_a_step_pass():
    network, stepper = make_stepper()
    OutOfMemory(network, 0, RuntimeError("shapes"))
    with pytest.raises(RuntimeError, match=r"^shapes$"):
        stepper.step([make_batch()], 1e-2)
