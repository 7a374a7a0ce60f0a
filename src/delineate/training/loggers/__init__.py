"""What is told of a training as it goes on: TensorBoard always, trackers where they are wanted."""

from __future__ import annotations

TRACKERS: dict[str, str] = {
    "mlflow": "delineate.training.loggers.mlflow_logger:MlflowLogger",
    "wandb": "delineate.training.loggers.wandb_logger:WandbLogger",
}
"""Name in `logging.to` -> the class; each needs the extra of the same name."""
