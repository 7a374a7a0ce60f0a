import json
import os
from pathlib import Path
from types import SimpleNamespace

from mlflow import note


class MlflowClient:
    def __init__(self, tracking_uri):
        self.tracking_uri = tracking_uri
        note("open", uri=tracking_uri)

    def get_experiment_by_name(self, name):
        return None

    def create_experiment(self, name, artifact_location=None):
        note("create_experiment", name=name, place=artifact_location)
        return "7"

    def create_run(self, experiment_id, run_name):
        note("create_run", experiment=experiment_id, name=run_name)
        return SimpleNamespace(info=SimpleNamespace(run_id="run-1"))

    def update_run(self, run_id, status):
        note("update_run", run=run_id, status=status)

    def get_metric_history(self, run_id, key):
        text = Path(os.environ["TRACKER_NOTES"]).read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        pairs = [line["pair"] for line in lines if line["call"] == "metric"]
        return [SimpleNamespace(step=step) for name, _, step in pairs if name == key]

    def log_batch(self, run_id, metrics=(), params=()):
        assert len(params) <= 100
        for metric in metrics:
            note("metric", run=run_id, pair=metric.pair)
        for param in params:
            note("param", run=run_id, pair=param.pair)

    def log_image(self, run_id, image, artifact_file):
        note("image", run=run_id, shape=image.shape, file=artifact_file)

    def log_text(self, run_id, text, artifact_file):
        note("text", run=run_id, text=text, file=artifact_file)

    def set_tag(self, run_id, key, value):
        note("tag", run=run_id, pair=(key, value))

    def set_terminated(self, run_id, status):
        note("end", run=run_id, status=status)
