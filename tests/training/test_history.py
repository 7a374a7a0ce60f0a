import math

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from delineate.training.history import COLUMNS, EpochRecord, History, draw_curves
from delineate.training.loggers.logger import RunFacts
from delineate.training.loggers.tensorboard_logger import TensorBoardLogger


def make_record(epoch, dice=0.5):
    return EpochRecord(epoch, 1.25 * epoch, 0.5, 0.25, dice, 0.4, 1e-3)


def open_tensorboard(run, past=()):
    logger = TensorBoardLogger(pytest.fail)
    settings = {"loss.name": "dice", "training.seed": 3, "task.kind": "binary"}
    texts = {"plan.md": "# Plan\n", "config.yaml": "loss:\n  name: dice\n"}
    logger.start(RunFacts(run, "cells", settings, texts, tuple(past)))
    return logger


def read_events(run):
    return EventAccumulator(str(run)).Reload()


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


def test_events_hold_scalars_pictures_settings_and_the_end(tmp_path):
    history = History(tmp_path, loggers=[open_tensorboard(tmp_path)])
    history.add(make_record(1))
    history.add_picture("epochs", np.full((8, 12, 3), 200, np.uint8))
    history.conclude(1, "all steps were made")
    history.close()
    events = read_events(tmp_path)
    assert set(events.Tags()["scalars"]) == set(COLUMNS) - {"epoch", "time"}
    assert events.Scalars("metrics/dice")[0].value == 0.5
    (picture,) = events.Images("epochs")
    assert (picture.width, picture.height, picture.step) == (12, 8, 1)
    texts = {
        name.partition("/")[0]: events.Tensors(name)[0].tensor_proto.string_val[0].decode()
        for name in events.Tags()["tensors"]
        if "text_summary" in name
    }
    assert texts["config.yaml"] == "    loss:\n      name: dice"
    assert "all steps were made" in texts["what came of it"]
    assert (
        b"loss.name" in events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    )
    assert len(list(tmp_path.glob("**/events.*"))) == 1


def test_epochs_that_are_made_again_are_there_once(tmp_path):
    first = History(tmp_path, loggers=[open_tensorboard(tmp_path)])
    for epoch in (1, 2, 3):
        first.add(make_record(epoch, 0.1 * epoch))
    first.close()
    records = first.records[:1]
    again = History(tmp_path, records, [open_tensorboard(tmp_path, [(1, records[0].scalars())])])
    again.add(make_record(2, 0.9))
    again.close()
    scalars = read_events(tmp_path).Scalars("metrics/dice")
    assert [(one.step, pytest.approx(one.value)) for one in scalars] == [(1, 0.1), (2, 0.9)]


@pytest.mark.parametrize(
    ("concluded", "end"), [(None, "failed"), (False, "finished"), (True, "interrupted")]
)
def test_loggers_are_told_how_training_ended(tmp_path, concluded, end):
    heard = []

    class Listener:
        def log_scalars(self, scalars, epoch):
            heard.append(epoch)

        def close(self, end, summary):
            heard.append((end, summary.get("metrics/dice"), summary.get("epoch")))

    history = History(tmp_path, loggers=[Listener()])
    history.add(make_record(1, 0.7))
    history.add(make_record(2, 0.6))
    if concluded is not None:
        history.conclude(1, "reason", is_interrupted=concluded)
    history.close()
    assert heard == [1, 2, (end, *((0.7, "1") if concluded is not None else (None, None)))]


def test_curves_with_an_undefined_score_are_drawn(tmp_path):
    draw_curves([make_record(1, math.nan), make_record(2)], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000
