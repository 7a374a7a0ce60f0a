"""Bring label formats of other programs into the plain layout: images, masks and `data.yaml`."""

from collections.abc import Callable
from pathlib import Path

from delineate.data.importers.annotation import Collection, ImportOptions
from delineate.data.importers.coco import read_coco
from delineate.data.importers.cvat import read_cvat
from delineate.data.importers.index_masks import read_cityscapes, read_voc
from delineate.data.importers.instances import read_instances
from delineate.data.importers.labelme import read_labelme
from delineate.data.importers.nnunet import read_nnunet
from delineate.data.importers.vectors import read_vectors
from delineate.data.importers.yolo import read_yolo

__all__ = ["FORMATS", "Collection", "ImportOptions"]

FORMATS: dict[str, Callable[[Path, ImportOptions], Collection]] = {
    "coco": read_coco,
    "yolo": read_yolo,
    "labelme": read_labelme,
    "cvat": read_cvat,
    "voc": read_voc,
    "cityscapes": read_cityscapes,
    "nnunet": read_nnunet,
    "vectors": read_vectors,
    "instances": read_instances,
}
"""Format -> what reads it."""
