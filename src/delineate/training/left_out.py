"""The images that a training has left out, because they were damaged or changed on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from delineate.data.bad_images import BAD_SHARE, count_tolerable
from delineate.errors import DataError
from delineate.processes import ALONE, Team

if TYPE_CHECKING:
    from delineate.data.cache import ImageCache
    from delineate.training.step import Batch


class LeftOut:
    """Counts the images that batches could not be drawn from.

    Patches are drawn on other processes, and ahead of time: what they met counts from the step on
    that its batch is for, so that it does not depend on how far ahead they are.
    """

    def __init__(
        self,
        images: ImageCache,
        report: Callable[[str], None],
        *,
        met: Iterable[int] = (),
        team: Team = ALONE,
    ) -> None:
        """Start.

        Args:
            images: The training images.
            report: Told, in a sentence, of each image.
            met: Positions of those left out before the training was resumed.
            team: All processes of the training; each draws patches of its own.
        """
        self.met = set(met)
        """Positions of the images, of all processes since `settle`."""
        self._told = set(self.met)
        self._images = images
        self._report = report
        self._team = team

    def note(self, batches: Sequence[Batch]) -> None:
        """Take down what was met for the batches of one step."""
        found = {
            int(index) for batch in batches if "bad" in batch for index in batch["bad"].ravel()
        }
        self.met |= found - {-1}
        if self._team.is_alone:
            self._check()

    def settle(self) -> None:
        """Share what the processes have met; each calls it as often.

        Raises:
            DataError: If more images are bad than may be left out.
        """
        if not self._team.is_alone:
            self.met = set().union(*self._team.share(self._team.gather(self.met)))
            self._check()

    def describe(self) -> list[str]:
        """Return a line that lists the images; none where there are none."""
        if not self.met:
            return []
        names = ", ".join(self._name(index) for index in sorted(self.met))
        return [f"Left out {len(self.met)} of {len(self._images)} training images: {names}."]

    def _check(self) -> None:
        new = sorted(self.met - self._told)
        self._told |= self.met
        reasons = [f"{self._name(index)} ({self._explain(index)})" for index in new]
        if len(self.met) > count_tolerable(len(self._images)):
            raise DataError(
                f"{len(self.met)} of {len(self._images)} training images are damaged or changed, "
                f"the last {', '.join(reasons)}; at most {BAD_SHARE:.0%} may be left out: put "
                "the files back, and go on with --resume"
            )
        for reason in reasons:
            self._report(f"a training image is left out from now on: {reason}")

    def _name(self, index: int) -> str:
        return self._images.samples[index].name

    def _explain(self, index: int) -> str:
        try:
            self._images[index]
        except DataError as error:
            return str(error)
        return "it could not be read, and now it can again"
