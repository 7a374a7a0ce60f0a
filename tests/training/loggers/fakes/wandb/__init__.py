"""Stands for wandb: notes each call as a line of JSON in the file $TRACKER_NOTES."""

import json
import os
from pathlib import Path


def note(call, **facts):
    with Path(os.environ["TRACKER_NOTES"]).open("a") as file:
        file.write(json.dumps({"tracker": "wandb", "call": call, **facts}) + "\n")


class Settings:
    def __init__(self, **settings):
        self.settings = settings


class Image:
    def __init__(self, picture):
        self.shape = picture.shape


class Run:
    summary: dict = {}  # noqa: RUF012
    step = 0

    def log(self, values, step):
        shown = {k: v.shape if isinstance(v, Image) else v for k, v in values.items()}
        note("log", values=shown, step=step)

    def finish(self, exit_code):
        note("end", code=exit_code, summary=self.summary)


def init(settings, config, **arguments):
    note("init", settings=settings.settings, config=config, **arguments)
    return Run()
