"""folds.json: what a cross-validation has settled at its start, for those who go on with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from delineate.errors import DataError
from delineate.evaluation.description import digest_samples
from delineate.files import write_text
from delineate.training.run_folder import FOLDS

if TYPE_CHECKING:
    from delineate.data.inventory import Inventory, Sample

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Ledger:
    """What is settled for all folds."""

    data: str
    """What training was given."""
    device: str
    num_folds: int
    fold_of: dict[str, int]
    """Name of each image to the fold that it is held out of, from 1."""
    digests: dict[str, str]
    """Name of each image to a digest of its files."""
    settings: dict[str, Any]
    """Of all folds, but for their validation images, seeds and times."""
    seconds_per_fold: float | None
    """None where the length is given in epochs."""
    is_distilled: bool = False
    """Whether a student is trained, too."""

    def held_out(self, fold: int) -> list[str]:
        """Return the names of the images of a fold, counted from 1, in their order."""
        return [name for name, number in self.fold_of.items() if number == fold]

    def save(self, run: Path) -> None:
        """Write the ledger into the folder of the cross-validation."""
        document = {"format_version": FORMAT_VERSION, **asdict(self)}
        write_text(run / FOLDS, json.dumps(document, indent=1) + "\n")


def load_ledger(run: Path) -> Ledger:
    """Read the ledger of a cross-validation.

    Raises:
        DataError: If it is damaged or of another version.
    """
    path = run / FOLDS
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document.pop("format_version")
        if version != FORMAT_VERSION:
            raise ValueError(f"its format version is {version}, this program's {FORMAT_VERSION}")
        return Ledger(**document)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} cannot be read ({error}); start the training anew") from error


def digest_pool(samples: Sequence[Sample]) -> dict[str, str]:
    """Return a digest of the files of each image."""
    return {sample.name: digest_samples([sample])[:16] for sample in samples}


def pool_of(inventory: Inventory) -> list[Sample]:
    """Return the samples that cross-validation is about: all but those of the test split."""
    return [sample for sample in inventory.samples if sample.split != "test"]
