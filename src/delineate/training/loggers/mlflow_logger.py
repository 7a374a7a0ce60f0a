"""MLflow: a run of an experiment, on a server or in a store of the run folder."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from delineate.training.loggers.logger import End, RunFacts

STORE = "mlflow"
"""Folder of the local store, in the run folder."""

_STATUS: dict[End, str] = {"finished": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
_LONGEST_VALUE = 500
"""Characters of a parameter that servers of any version take."""
_MOST_PARAMETERS = 100
"""Parameters that a server takes at once."""


class MlflowLogger:
    """Logs metrics, parameters, pictures and texts to one MLflow run.

    Goes to `MLFLOW_TRACKING_URI`; without it, to an SQLite store in the run folder. No data about
    the use of MLflow leave the machine unless `MLFLOW_DISABLE_TELEMETRY` says otherwise.
    """

    modules = ("mlflow", "sqlalchemy", "alembic")
    """What the extra brings."""

    def __init__(self) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # What it says of its database would go between the lines of the training.
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        import mlflow.entities
        import mlflow.tracking

        self._mlflow: Any = mlflow
        self._client: Any = None
        self._run = ""

    def start(self, facts: RunFacts) -> None:
        """Open the run, or the one that a resumed training has had."""
        known = facts.identity("mlflow")
        sent: set[int] = set()
        if known is None:
            self._begin(facts)
            facts.remember("mlflow", {"run_id": self._run, "uri": self._client.tracking_uri})
            self._log_settings(facts)
        else:
            self._client = self._mlflow.tracking.MlflowClient(tracking_uri=known["uri"])
            self._run = known["run_id"]
            self._client.update_run(self._run, status="RUNNING")
            history = self._client.get_metric_history(self._run, "lr")
            sent = {metric.step for metric in history}
        # A process that was killed may have taken with it what had not been sent yet.
        for epoch, scalars in facts.past:
            if epoch not in sent:
                self.log_scalars(scalars, epoch)

    def log_scalars(self, scalars: Mapping[str, float], epoch: int) -> None:
        """Log the numbers of an epoch that are finite, as not every store takes others."""
        now = int(1000 * time.time())
        metrics = [
            self._mlflow.entities.Metric(name, value, now, epoch)
            for name, value in scalars.items()
            if math.isfinite(value)
        ]
        self._client.log_batch(self._run, metrics=metrics)

    def log_picture(self, name: str, picture: NDArray[np.uint8], epoch: int) -> None:
        """Log a picture as an artifact."""
        self._client.log_image(self._run, picture, artifact_file=f"{name}/{epoch:05d}.png")

    def close(self, end: End, summary: Mapping[str, float | str]) -> None:
        """Log what came of it, and end the run."""
        best = {f"best/{k}": v for k, v in summary.items() if isinstance(v, float)}
        if best:
            self.log_scalars(best, int(summary["epoch"]))
        for name, value in summary.items():
            if not isinstance(value, float):
                self._client.set_tag(self._run, name, value)
        self._client.set_terminated(self._run, status=_STATUS[end])

    def _begin(self, facts: RunFacts) -> None:
        folder = facts.folder.resolve() / STORE
        uri, place = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not uri:
            folder.mkdir(exist_ok=True)
            uri, place = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
        self._client = self._mlflow.tracking.MlflowClient(tracking_uri=uri)
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or facts.project
        experiment = self._client.get_experiment_by_name(name)
        number = (
            self._client.create_experiment(name, artifact_location=place)
            if experiment is None
            else experiment.experiment_id
        )
        self._run = self._client.create_run(number, run_name=facts.name).info.run_id

    def _log_settings(self, facts: RunFacts) -> None:
        parameters = [
            self._mlflow.entities.Param(name, str(value)[:_LONGEST_VALUE])
            for name, value in facts.settings.items()
        ]
        for first in range(0, len(parameters), _MOST_PARAMETERS):
            self._client.log_batch(self._run, params=parameters[first : first + _MOST_PARAMETERS])
        for name, text in facts.texts.items():
            self._client.log_text(self._run, text, name)
