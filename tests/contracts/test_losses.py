"""One contract for every loss of the table, for the three kinds of task."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core import PydanticUndefined
from torch import Tensor

from delineate import config
from delineate.errors import ShapeError, UnknownNameError, UsageError
from delineate.losses import LOSSES, build_loss, sigmoid_sums, softmax_sums
from delineate.task import Task

TASKS = {
    "binary": Task("binary", ("vessel",)),
    "multiclass": Task("multiclass", ("ground", "road", "roof", "tree")),
    "background": Task("multiclass", ("ground", "road", "roof", "tree"), background="ground"),
    "multilabel": Task("multilabel", ("road", "roof", "tree")),
}
TERMS = (
    {"weight": 0.5, "loss": {"name": "focal_tversky", "reduction": "image"}},
    {"weight": 0.25, "loss": {"name": "boundary"}},
)
CASES: list[tuple[str, dict[str, Any]]] = [
    *(
        (name, {"reduction": reduction})
        for name in ("dice", "tversky", "focal_tversky", "focal_dice", "ce_dice", "cl_dice")
        for reduction in ("image", "batch", "batch_class")
    ),
    ("dice", {"smooth": 0.0}),
    ("tversky", {"smooth": 0.0, "alpha": 1.0, "beta": 0.0}),
    ("focal_tversky", {"gamma": 0.5, "smooth": 0.0}),
    ("focal", {}),
    ("focal", {"alpha": None, "gamma": 0.5}),
    ("focal", {"alpha": 0.6, "gamma": 0.0}),
    ("focal_dice", {"gamma": 0.3, "balance": 0.2}),
    ("cross_entropy", {}),
    ("cross_entropy", {"pos_weight": 3.0, "label_smoothing": 0.2}),
    ("ce_dice", {"pos_weight": 3.0, "label_smoothing": 0.2, "balance": 0.7}),
    ("boundary", {}),
    ("cl_dice", {"iterations": 2, "smooth": 0.0}),
    ("weighted_sum", {"terms": TERMS}),
]


class Case(NamedTuple):
    name: str
    settings: dict[str, Any]
    task: Task

    def build(
        self, class_weights: Tensor | None = None
    ) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
        return build_loss(self.name, self.task, class_weights, **self.settings)


def describe(value: Any) -> str:
    if isinstance(value, str):
        return value
    name, chosen = value
    return "-".join([name, *(f"{k}={v}" for k, v in chosen.items() if k != "terms")])


@pytest.fixture(params=CASES, ids=describe)
def settings_case(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    chosen: tuple[str, dict[str, Any]] = request.param
    return chosen


@pytest.fixture(params=list(TASKS))
def case(request: pytest.FixtureRequest, settings_case: tuple[str, dict[str, Any]]) -> Case:
    return Case(*settings_case, TASKS[request.param])


def draw(
    task: Task, size: tuple[int, int, int] = (3, 6, 5), dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Return logits, target and valid; an empty image, an absent class, ignored pixels."""
    generator = torch.Generator().manual_seed(1)
    batch_size, height, width = size
    shape = (batch_size, task.num_classes, height, width)
    logits = torch.randn(shape, generator=generator, dtype=dtype)
    if task.kind == "multilabel":
        target = torch.randint(0, 2, shape, generator=generator)
        target[:, 1] = 0
    else:
        target = torch.randint(0, max(2, task.num_classes - 1), size, generator=generator)
    target[0] = 0
    target[..., 0, :2] = task.ignore_index
    valid = torch.rand((batch_size, 1, height, width), generator=generator) > 0.1
    return logits, target, valid


def compute(case: Case, logits: Tensor, target: Tensor, valid: Tensor | None) -> list[Tensor]:
    """Return the loss and its gradient."""
    weights = torch.arange(1.0, case.task.num_classes + 1)
    leaf = logits.detach().clone().requires_grad_()
    loss = case.build(weights)(leaf, target, valid)
    assert loss.shape == ()
    loss.backward()
    assert leaf.grad is not None
    return [loss.detach(), leaf.grad]


def test_gradient_is_that_of_the_value(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    # Blocks so small that rows are cut into pieces of unequal size.
    monkeypatch.setattr(sigmoid_sums, "BLOCK_ELEMENTS", 13)
    monkeypatch.setattr(softmax_sums, "BLOCK_ELEMENTS", 13 * 4)
    logits, target, valid = draw(case.task, dtype=torch.float64)
    loss = case.build(torch.arange(1.0, case.task.num_classes + 1))

    assert torch.autograd.gradcheck(
        lambda z: loss(z, target, valid), (logits.requires_grad_(),), fast_mode=True
    )


@pytest.mark.parametrize("name", list(LOSSES))
@pytest.mark.parametrize("kind", ["binary", "background", "multilabel"])
def test_every_derivative_is_that_of_the_value(name: str, kind: str) -> None:
    task = TASKS[kind]
    chosen = {"terms": TERMS} if name == "weighted_sum" else {}
    logits, target, valid = draw(task, (2, 3, 4), torch.float64)
    loss = build_loss(name, task, **chosen)

    assert torch.autograd.gradcheck(lambda z: loss(z, target, valid), (logits.requires_grad_(),))


def test_blocks_change_nothing(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target, valid = draw(case.task)
    whole = compute(case, logits, target, valid)
    for elements in (7, 40, 60):
        monkeypatch.setattr(sigmoid_sums, "BLOCK_ELEMENTS", elements)
        monkeypatch.setattr(softmax_sums, "BLOCK_ELEMENTS", elements)
        torch.testing.assert_close(compute(case, logits, target, valid), whole)


def test_pixels_that_do_not_count_do_not_matter(case: Case) -> None:
    logits, target, valid = draw(case.task)
    loss, gradient = compute(case, logits, target, valid)
    ignored = (target == case.task.ignore_index).reshape(len(target), -1, *target.shape[-2:])
    out = (ignored | ~valid).expand_as(logits)

    changed = torch.where(out, 7.0, logits)
    marked = torch.where(valid if target.ndim == 4 else valid[:, 0], target, 255)

    assert (gradient[out] == 0).all()
    for other in (compute(case, changed, target, valid), compute(case, logits, marked, None)):
        torch.testing.assert_close(other[0], loss)
        torch.testing.assert_close(other[1], gradient)


def test_batch_without_a_valid_pixel_has_loss_and_gradient_zero(case: Case) -> None:
    logits, target, valid = draw(case.task)
    for none_left in (
        compute(case, 100 * logits, target, torch.zeros_like(valid)),
        compute(case, logits, torch.full_like(target, 255), None),
    ):
        assert none_left[0] == 0
        assert (none_left[1] == 0).all()


@pytest.mark.parametrize("scale", [1e-30, 20.0, 100.0, 1e4])
def test_gradient_is_finite_where_probabilities_are_0_and_1(case: Case, scale: float) -> None:
    logits, target, valid = draw(case.task)
    is_class = torch.stack([target == k for k in range(case.task.num_classes)], 1)
    if case.task.kind != "multiclass":
        is_class = (target == 1).reshape(logits.shape)
    right = torch.where(is_class, scale, -scale)
    for values in (right, -right, scale * logits.sign(), torch.full_like(logits, scale)):
        for labels in (target, torch.where(target == 255, 255, 0), (target > 0).long()):
            loss, gradient = compute(case, values, labels, valid)
            assert loss.isfinite()
            assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_summed_in_float32(case: Case, dtype: torch.dtype) -> None:
    logits, target, valid = draw(case.task)
    logits = logits.to(dtype)
    loss, gradient = compute(case, logits, target, valid)
    wide_loss, wide_gradient = compute(case, logits.float(), target, valid)

    assert loss.dtype == torch.float32
    assert gradient.dtype == dtype
    torch.testing.assert_close(loss, wide_loss, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(gradient.float(), wide_gradient, rtol=1e-2, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast_loss, cast_gradient = compute(case, logits.float(), target, valid)
    assert torch.equal(cast_loss, wide_loss)
    assert torch.equal(cast_gradient, wide_gradient)


def test_sums_beyond_the_range_of_float16_stay_finite() -> None:
    logits = torch.full((1, 1, 300, 300), 10.0, dtype=torch.float16)  # 90,000 > 65,504
    target = torch.ones(1, 300, 300, dtype=torch.long)
    for name in ("dice", "ce_dice", "focal_dice", "tversky", "boundary", "cl_dice"):
        loss, gradient = compute(Case(name, {}, TASKS["binary"]), logits, target, None)
        assert loss < 1e-3
        assert gradient.isfinite().all()


def bound_by_pixel(name: str, chosen: dict[str, Any], task: Task) -> float:
    """Return b x share of the package's docstring, with n the pixels of the batch."""
    if name == "weighted_sum":
        terms = [(term["weight"], dict(term["loss"])) for term in chosen["terms"]]
        return float(sum(w * bound_by_pixel(part.pop("name"), part, task) for w, part in terms))
    alpha, gamma = chosen.get("alpha", 0.25), chosen.get("gamma", 2.0)
    is_negative = task.kind != "multiclass" or task.background is not None
    weight = 1.0 if alpha is None else (1 - alpha if is_negative else alpha)
    focal = weight / 2 ** (1 + gamma)
    entropy = (1 - chosen.get("label_smoothing", 0.0)) / 2
    if task.kind == "multilabel":
        focal, entropy, ratio = focal / 3, entropy / 3, 1 / 6
    else:
        is_alone = task.background is not None and name in ("boundary", "cl_dice")
        ratio = 0.5 if task.kind == "binary" or is_alone else 0.5 * 3 / 4
    balance = chosen.get("balance", 0.5)
    pixelwise = {"focal": focal, "cross_entropy": entropy}
    combined = {"focal_dice": focal, "ce_dice": entropy}
    if name in combined:
        return float(balance * ratio + (1 - balance) * combined[name])
    return float(pixelwise.get(name, ratio))


@pytest.mark.parametrize("confidence", [0.0, 0.7, 5.0, 100.0, 1e4])
def test_empty_target_pushes_false_positives_down(case: Case, confidence: float) -> None:
    task = case.task
    batch_size, height, width = 2, 16, 16
    target = torch.zeros(batch_size, height, width, dtype=torch.long)
    if task.kind == "multilabel":
        target = target.unsqueeze(1).repeat(1, task.num_classes, 1, 1)
    logits = torch.randn(batch_size, task.num_classes, height, width)
    logits[:, :, 4:9, 3:12] = -3.0
    last = task.num_classes - 1
    # Confidence 0: p is 1/2 exactly, whatever the number of classes.
    logits[:, last, 4:9, 3:12] = confidence
    if task.kind == "multiclass":
        logits[:, last, 4:9, 3:12] += torch.logsumexp(logits[:, :last, 4:9, 3:12], dim=1)
    logits.requires_grad_()

    loss = case.build()(logits, target, None)
    loss.backward()

    num_pixels = batch_size * height * width
    bound = bound_by_pixel(*case) / num_pixels
    assert logits.grad is not None
    gradient = logits.grad[:, last, 4:9, 3:12]
    assert (gradient >= bound * (1 - 1e-5)).all()
    assert (logits.grad.abs() <= 3.5 / num_pixels).all()


def test_class_without_weight_is_left_alone() -> None:
    task = TASKS["multilabel"]
    logits, target, valid = draw(task)
    weights = torch.tensor([1.0, 0.0, 2.0])
    for name in LOSSES:
        chosen = {"terms": TERMS} if name == "weighted_sum" else {}
        leaf = logits.clone().requires_grad_()
        build_loss(name, task, weights, **chosen)(leaf, target, valid).backward()
        assert leaf.grad is not None
        assert (leaf.grad[:, 1] == 0).all(), name
        assert (leaf.grad[:, 2] != 0).any(), name


def test_right_answer_is_cheaper_than_wrong_and_descent_finds_it(case: Case) -> None:
    _, target, valid = draw(case.task, (2, 12, 12))
    shape = (2, case.task.num_classes, 12, 12)
    logits = torch.zeros(shape, requires_grad=True)
    loss = case.build()
    optimizer = torch.optim.Adam([logits], lr=0.5)
    first = loss(logits, target, valid)
    for _ in range(30):
        optimizer.zero_grad()
        loss(logits, target, valid).backward()
        optimizer.step()

    assert loss(logits, target, valid) < first - 0.3 * abs(first)


@settings(deadline=None, max_examples=15)
@given(
    name=st.sampled_from(["dice", "ce_dice", "focal_tversky", "cl_dice", "boundary"]),
    kind=st.sampled_from(list(TASKS)),
    turns=st.integers(1, 3),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
)
def test_turning_the_batch_changes_nothing(
    name: str, kind: str, turns: int, height: int, width: int
) -> None:
    task = TASKS[kind]
    logits, target, valid = draw(task, (2, height, width))
    loss = build_loss(name, task)

    turned = [part.rot90(turns, (-2, -1)) for part in (logits, target, valid)]

    torch.testing.assert_close(loss(*turned), loss(logits, target, valid))


CONFIGS = {
    model.model_fields["name"].default: model
    for model in vars(config).values()
    if inspect.isclass(model) and model.__name__.endswith("LossConfig")
}


def test_every_loss_has_a_config_and_every_config_a_loss() -> None:
    assert CONFIGS.keys() == LOSSES.keys()


@pytest.mark.parametrize("name", list(LOSSES))
def test_config_has_the_settings_and_defaults_of_the_function(name: str) -> None:
    module, _, function = LOSSES[name].rpartition(".")
    parameters = inspect.signature(getattr(__import__(module, fromlist=["_"]), function)).parameters
    keywords = {
        key: PydanticUndefined if value.default is inspect.Parameter.empty else value.default
        for key, value in parameters.items()
        if value.kind is inspect.Parameter.KEYWORD_ONLY and key != "class_weights"
    }
    fields = {
        key: field.default for key, field in CONFIGS[name].model_fields.items() if key != "name"
    }

    assert fields == keywords


def test_settings_of_a_config_build_the_loss() -> None:
    terms = [{"loss": {"name": "dice"}}, {"weight": 2.0, "loss": {"name": "cross_entropy"}}]
    built = config.WeightedSumLossConfig.model_validate({"terms": terms}).model_dump()
    logits, target, valid = draw(TASKS["binary"])

    loss = build_loss(built.pop("name"), TASKS["binary"], **built)(logits, target, valid)

    dice, entropy = (
        build_loss(name, TASKS["binary"])(logits, target, valid)
        for name in ("dice", "cross_entropy")
    )
    torch.testing.assert_close(loss, dice + 2 * entropy)


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(UnknownNameError, match=r"dice, focal.*Did you mean 'dice'"):
        build_loss("dise", TASKS["binary"])
    with pytest.raises(UnknownNameError, match=r"reduction, smooth.*Did you mean 'smooth'"):
        build_loss("dice", TASKS["binary"], smoth=1.0)


@pytest.mark.parametrize(
    ("name", "chosen", "message"),
    [
        ("dice", {"smooth": -1.0}, "smooth is -1.0"),
        ("dice", {"reduction": "mean"}, "image, batch, batch_class"),
        ("tversky", {"alpha": 0.0, "beta": 0.0}, "not both 0"),
        ("focal_tversky", {"gamma": 0.0}, "gamma is 0.0"),
        ("focal", {"gamma": -1.0}, "gamma is -1.0"),
        ("focal", {"alpha": 1.5}, "alpha is 1.5"),
        ("cross_entropy", {"pos_weight": 0.0}, "pos_weight is 0.0"),
        ("cross_entropy", {"label_smoothing": 1.0}, "label_smoothing is 1.0"),
        ("ce_dice", {"balance": 2.0}, "balance is 2.0"),
        ("cl_dice", {"iterations": 0}, "iterations is 0"),
        ("weighted_sum", {"terms": ()}, "no terms"),
        ("weighted_sum", {"terms": [{"weight": -1.0, "loss": {"name": "dice"}}]}, "-1.0"),
    ],
)
def test_settings_out_of_range_are_refused(name: str, chosen: dict[str, Any], message: str) -> None:
    logits, target, _ = draw(TASKS["binary"])
    with pytest.raises(UsageError, match=message):
        build_loss(name, TASKS["binary"], **chosen)(logits, target, None)


@pytest.mark.parametrize("name", list(LOSSES))
def test_wrong_shapes_are_refused(name: str) -> None:
    chosen = {"terms": TERMS} if name == "weighted_sum" else {}
    loss = build_loss(name, TASKS["binary"], **chosen)
    logits, target, valid = draw(TASKS["binary"])
    with pytest.raises(ShapeError, match="logits have shape"):
        loss(logits.repeat(1, 2, 1, 1), target, valid)
    with pytest.raises(ShapeError, match="the target has shape"):
        loss(logits, target[:, :-1], valid)
