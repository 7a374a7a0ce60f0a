import numpy as np
import pytest
import torch

from delineate.errors import UnknownNameError
from delineate.model_file import SegmentationModel
from delineate.models import build_model
from delineate.prediction.predictor import load_predictor
from delineate.prediction.views import VIEWS, average_views
from delineate.preprocessing import Preprocessing
from delineate.task import Task

BINARY = Task("binary", ("cell",))
CLASSES = Task("multiclass", ("a", "b", "c"))


def slanted(num_classes):
    """An engine that is not the same for a turned image: it looks to the right and down."""

    def run(images):
        right = images.roll(1, -1) * 2 + images.roll(1, -2)
        return (
            right[:, :1].repeat(1, num_classes, 1, 1)
            * torch.arange(1, num_classes + 1)[None, :, None, None]
        )

    return run


@pytest.mark.parametrize("views", VIEWS)
def test_views_are_undone(views):
    tiles = torch.rand(2, 3, 5, 7)
    for view in VIEWS[views]:
        assert torch.equal(view.undo(view.apply(tiles)), tiles)
    assert len(set(VIEWS[views])) == {"one": 1, "flips": 4, "all": 8}[views]


@pytest.mark.parametrize("task", [BINARY, CLASSES])
@pytest.mark.parametrize("views", ["flips", "all"])
def test_probabilities_are_the_mean_over_the_views(task, views):
    engine, images = slanted(task.num_classes), torch.randn(1, 1, 6, 8)
    averaged = task.probs(average_views(engine, task, views)(images))
    wanted = torch.stack(
        [task.probs(view.undo(engine(view.apply(images)))) for view in VIEWS[views]]
    ).mean(dim=0)
    torch.testing.assert_close(averaged, wanted, atol=1e-6, rtol=0)
    assert (averaged - task.probs(engine(images))).abs().max() > 0.01


def test_what_is_averaged_turns_with_the_image():
    engine, images = average_views(slanted(1), BINARY, "all"), torch.randn(1, 1, 6, 6)
    for view in VIEWS["all"]:
        torch.testing.assert_close(engine(view.apply(images)), view.apply(engine(images)))


def test_one_view_is_the_engine_itself():
    engine = slanted(1)
    assert average_views(engine, BINARY, "one") is engine
    with pytest.raises(UnknownNameError, match="flips"):
        average_views(engine, BINARY, "flip")


def test_a_predictor_with_views_is_the_same_for_a_turned_image():
    torch.manual_seed(0)
    settings = {"width": 4, "depth": 2}
    model = SegmentationModel(
        network=build_model("unet", 1, 1, **settings).eval(),
        task=BINARY,
        preprocessing=Preprocessing(1),
        architecture={"name": "unet", "in_channels": 1, "num_classes": 1, "settings": settings},
        tile_size=(64, 64),
    )
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 1)).astype(np.uint8)
    plain, averaged = (
        load_predictor(model, device="cpu", amp="off", views=views) for views in ("one", "all")
    )
    assert averaged.tiling == "blended"
    turned = averaged.predict_probs(np.rot90(pixels).copy())
    np.testing.assert_allclose(
        turned[0], np.rot90(averaged.predict_probs(pixels)[0]), atol=1e-5, rtol=0
    )
    difference = np.abs(plain.predict_probs(np.rot90(pixels).copy())[0] - turned[0])
    assert difference.max() > 1e-4
