"""The mean of probabilities, against numpy and scipy in float64 and at both ends of the scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_expit, logsumexp, softmax
from torch import Tensor, nn

from delineate.errors import UsageError
from delineate.model_file import SegmentationModel
from delineate.models import build_model, build_network
from delineate.models.ensemble import Ensemble
from delineate.prediction.predictor import load_predictor
from delineate.preprocessing import Preprocessing
from delineate.task import Task


class Constant(nn.Module):
    """A network that returns the same logits whatever it is shown."""

    in_channels, stride, halo, is_local = 1, 4, 3, True

    def __init__(self, logits: Tensor, **facts: int | bool) -> None:
        super().__init__()
        self.logits = logits
        self.num_classes = logits.shape[1]
        vars(self).update(facts)

    def forward(self, image: Tensor) -> Tensor:
        return self.logits


def ensemble_of(logits: np.ndarray, kind: str) -> np.ndarray:
    """Return the ensemble's logits for those of its members, (members, B, C, H, W)."""
    members = [Constant(torch.from_numpy(each)) for each in logits]
    return Ensemble(members, kind)(torch.zeros(1, 1, 2, 2)).numpy()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.integers(1, 4), st.floats(0.1, 12), st.integers(0, 2**31))
def test_probabilities_are_the_mean_of_the_members(num_members, num_classes, spread, seed):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (num_members, 2, num_classes, 3, 2))
    for kind in ("binary", "multilabel"):
        found = ensemble_of(logits, kind)
        np.testing.assert_allclose(expit(found), expit(logits).mean(axis=0), rtol=1e-12)
        # scipy's logit of a mean near 1 would have lost what tells it from 1
        odds = logsumexp(log_expit(logits), axis=0) - logsumexp(log_expit(-logits), axis=0)
        np.testing.assert_allclose(found, odds, rtol=1e-12, atol=1e-12)
    found = ensemble_of(logits, "multiclass")
    mean = softmax(logits, axis=2).mean(axis=0)
    np.testing.assert_allclose(np.exp(found), mean, rtol=1e-12)
    np.testing.assert_allclose(softmax(found, axis=1), mean, rtol=1e-12)


def test_one_member_is_itself_and_agreeing_members_are_one():
    logits = np.random.default_rng(0).normal(0, 5, (1, 1, 1, 4, 4))
    np.testing.assert_allclose(ensemble_of(logits, "binary"), logits[0], rtol=1e-13)
    np.testing.assert_allclose(ensemble_of(logits.repeat(4, 0), "binary"), logits[0], rtol=1e-12)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_nothing_saturates(kind):
    """Sigmoids of 200 are 1 in any precision; the mean must not become infinite, nor flat."""
    high = np.array([200.0, -200.0]).reshape(1, 1, 2, 1, 1)
    higher = np.array([300.0, -300.0]).reshape(1, 1, 2, 1, 1)
    both = np.concatenate([high, higher]).astype(np.float32)
    found = ensemble_of(both, kind)
    assert np.isfinite(found).all()
    alone = ensemble_of(high.astype(np.float32), kind)
    gap, gap_alone = (float(x[0, 0, 0, 0] - x[0, 1, 0, 0]) for x in (found, alone))
    assert gap > gap_alone  # a surer member makes the mean surer
    if kind == "binary":
        # the mean of 1 - exp(-200) and 1 - exp(-300) leaves half of exp(-200)
        assert found[0, 0, 0, 0] == pytest.approx(200 + np.log(2), rel=1e-6)


def test_half_precision_is_summed_in_single():
    logits = torch.tensor([[[[3.0]]]], dtype=torch.bfloat16)
    found = Ensemble([Constant(logits), Constant(-logits)], "binary")(torch.zeros(1, 1, 1, 1))
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(0, abs=1e-6)


def test_windows_are_those_of_all_members():
    logits = torch.zeros(1, 2, 1, 1)
    members = [Constant(logits), Constant(logits, stride=6, halo=11), Constant(logits)]
    joined = Ensemble(members, "multiclass")
    assert (joined.stride, joined.halo, joined.is_local) == (12, 11, True)
    assert (joined.in_channels, joined.num_classes) == (1, 2)
    assert not Ensemble([members[0], Constant(logits, is_local=False)], "multiclass").is_local


def test_members_that_do_not_agree_are_refused():
    with pytest.raises(UsageError, match=r"\[\(1, 1\), \(1, 2\)\]"):
        Ensemble([Constant(torch.zeros(1, n, 1, 1)) for n in (1, 2)], "multilabel")
    with pytest.raises(UsageError, match="one or more"):
        Ensemble([], "binary")


def test_networks_join_as_their_task_averages_them():
    torch.manual_seed(0)
    task = Task("multiclass", ("a", "b", "c"))
    members = [build_model("unet", 2, 3, width=4, depth=2).eval() for _ in range(3)]
    image = torch.randn(2, 2, 21, 17)
    with torch.inference_mode():
        wanted = torch.stack([task.probs(member(image)) for member in members]).mean(dim=0)
        torch.testing.assert_close(task.probs(Ensemble(members, task.kind)(image)), wanted)


@pytest.mark.parametrize("views", ["one", "flips"])
def test_tiles_of_an_ensemble_are_those_of_the_whole_image(views):
    torch.manual_seed(0)
    task = Task("binary", ("a",))
    members = [build_model("unet", 1, 1, width=4, depth=2).eval() for _ in range(2)]
    model = SegmentationModel(
        network=Ensemble(members, task.kind),
        task=task,
        preprocessing=Preprocessing(1, (0.0, 255.0), (0.5,), (0.25,)),
        architecture={},
        tile_size=(512, 512),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (200, 170, 1)).astype(np.uint8)
    whole = load_predictor(model, device="cpu", views=views)
    if views == "one":
        tiled = load_predictor(model, device="cpu", tiling="exact", tile_size=128)
        assert tiled.halo == model.network.halo
        assert len(list(tiled.plan(200, 170).rows)) > 1
        np.testing.assert_allclose(
            tiled.predict_probs(pixels), whole.predict_probs(pixels), atol=1e-6
        )
    else:
        plain = load_predictor(model, device="cpu")
        turned = [
            plain.predict_probs(pixels[::r, ::c])[:, ::r, ::c] for r in (1, -1) for c in (1, -1)
        ]
        # Views are padded at other sides, so that the rim differs.
        inner = np.s_[:, 48:-48, 48:-48]
        np.testing.assert_allclose(
            whole.predict_probs(pixels)[inner], np.mean(turned, axis=0)[inner], atol=1e-5
        )


def test_build_network_builds_one_or_many():
    architecture = {"name": "unet", "in_channels": 1, "num_classes": 1, "settings": {"width": 4}}
    single = build_network(architecture, "binary")
    joined = build_network({**architecture, "num_members": 2}, "binary")
    assert isinstance(joined, Ensemble)
    names = set(single.state_dict())
    assert set(joined.state_dict()) == {f"members.{i}.{name}" for i in (0, 1) for name in names}
    first, second = (dict(member.named_parameters()) for member in joined.members)
    assert all(first[name] is not second[name] for name in first)
