import math

from PIL import Image

from delineate.training.history import COLUMNS, EpochRecord, History, draw_curves


def make_record(epoch, dice=0.5):
    return EpochRecord(epoch, 1.25 * epoch, 0.5, 0.25, dice, 0.4, 1e-3)


def test_each_epoch_is_in_the_file_as_soon_as_it_is_over(tmp_path):
    history = History(tmp_path)
    for epoch in (1, 2):
        history.add(make_record(epoch))
        lines = (tmp_path / "results.csv").read_text().splitlines()
        assert lines[0] == "epoch,time,train/loss,val/loss,metrics/dice,metrics/mIoU,lr"
        assert len(lines) == 1 + epoch
    assert lines[2] == "2,2.5,0.5,0.25,0.5,0.4,0.001"
    history.close()
    assert list(COLUMNS) == lines[0].split(",")
    with Image.open(tmp_path / "figures" / "curves.png") as picture:
        assert picture.width > 800


def test_events_hold_scalars_and_the_gallery(tmp_path):
    import numpy as np
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    history = History(tmp_path)
    history.add(make_record(1))
    history.add_gallery(np.zeros((8, 8, 3), np.uint8))
    history.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    assert set(events.Tags()["scalars"]) == set(COLUMNS) - {"epoch", "time"}
    assert events.Tags()["images"] == ["validation"]
    assert events.Scalars("metrics/dice")[0].value == 0.5


def test_curves_with_an_undefined_score_are_drawn(tmp_path):
    draw_curves([make_record(1, math.nan), make_record(2)], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
