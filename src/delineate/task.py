"""What is to be segmented: the classes, and how logits become probabilities and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from delineate.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

TaskKind = Literal["binary", "multiclass", "multilabel"]

IGNORE_INDEX = 255
"""The target value of pixels that do not count; mask decoding maps every void to it."""


@dataclass(frozen=True)
class Task:
    """The classes of a model and what its output channels mean.

    A network has one logit channel per entry of `class_names`:

    - ``binary``: one channel, the foreground; targets hold 0 and 1; sigmoid.
    - ``multiclass``: K channels, each pixel belongs to one class 0..K-1; softmax.
    - ``multilabel``: K channels, each on its own; targets (K, H, W) hold 0 and 1; sigmoid.
    """

    kind: TaskKind
    class_names: tuple[str, ...]
    background: str | None = None
    """The class of a multiclass task that foreground means leave out."""
    ignore_index: int = IGNORE_INDEX
    """The target value of pixels that do not count."""

    def __post_init__(self) -> None:
        if not self.class_names:
            raise UsageError("a task needs at least one class name")
        if len(set(self.class_names)) != len(self.class_names):
            raise UsageError(f"class names must differ from each other, got {self.class_names}")
        if self.kind == "binary" and len(self.class_names) != 1:
            raise UsageError(
                f"a binary task has one class name, its foreground, got {self.class_names}"
            )
        if self.kind == "multiclass" and len(self.class_names) < 2:
            raise UsageError("a multiclass task needs at least two class names")
        if self.background is not None and (
            self.kind != "multiclass" or self.background not in self.class_names
        ):
            raise UsageError(
                f"background {self.background!r} is not one of the classes of a multiclass task: "
                f"{', '.join(self.class_names)}"
            )

    @property
    def num_classes(self) -> int:
        """Number of logit channels."""
        return len(self.class_names)

    @property
    def has_threshold(self) -> bool:
        """Whether masks come from thresholds on probabilities (else from argmax)."""
        return self.kind != "multiclass"

    @property
    def foreground(self) -> tuple[int, ...]:
        """Indices of the classes that means over classes are taken over."""
        return tuple(i for i, name in enumerate(self.class_names) if name != self.background)

    def probs(self, logits: Tensor) -> Tensor:
        """Return probabilities in [0, 1], (B, C, H, W), in float32 or wider."""
        if logits.dtype.itemsize < 4:
            logits = logits.float()
        if self.kind == "multiclass":
            return logits.softmax(dim=1)
        return logits.sigmoid()

    def mask(
        self, probs: NDArray[Any], thresholds: Sequence[float] | None = None
    ) -> NDArray[np.uint8]:
        """Return the hard labels of one image.

        Args:
            probs: Probabilities, (C, H, W).
            thresholds: One per class; 0.5 where None. Multiclass takes the argmax and none.

        Returns:
            (H, W) uint8, class indices; multilabel (C, H, W) of 0 and 1.
        """
        if self.kind == "multiclass":
            return np.asarray(probs.argmax(axis=0), dtype=np.uint8)
        levels = np.asarray(thresholds or [0.5] * self.num_classes, dtype=probs.dtype)
        labels = (probs >= levels[:, None, None]).astype(np.uint8)
        return labels[0] if self.kind == "binary" else labels

    def calibrate(self, probs: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
        """Return the probabilities of logits divided by a temperature.

        The order of pixels and of classes stays. Thresholds are on probabilities as they come, so
        masks are made before this.

        Args:
            probs: Probabilities, (C, H, W).
            temperature: Above 1 makes them less sure, below 1 surer.
        """
        if temperature == 1:
            return probs
        power = np.float32(1 / temperature)
        if self.kind == "multiclass":
            # Relative to the largest, no power of a probability vanishes for all classes.
            powers = (probs / probs.max(axis=0)) ** power
            return np.asarray(powers / powers.sum(axis=0), dtype=np.float32)
        ours, rest = probs**power, (1 - probs) ** power
        return np.asarray(ours / (ours + rest), dtype=np.float32)

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; `Task.from_dict` is its inverse."""
        return {
            "kind": self.kind,
            "class_names": list(self.class_names),
            "background": self.background,
            "ignore_index": self.ignore_index,
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Task:
        """Build a task from what `as_dict` returned."""
        return cls(
            kind=document["kind"],
            class_names=tuple(document["class_names"]),
            background=document.get("background"),
            ignore_index=document.get("ignore_index", IGNORE_INDEX),
        )
