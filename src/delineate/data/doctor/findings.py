"""What the data doctor finds: which files, what is wrong, why it matters and how to settle it."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, TypeAlias

from delineate.errors import DataError

Severity = Literal["error", "warning"]
"""An error stops training or makes it learn something wrong; a warning deserves a look."""


@dataclass(frozen=True)
class Evidence:
    """A picture that lets a reader judge a finding."""

    file: str
    """Relative to the data folder."""
    caption: str = ""
    box: tuple[int, int, int, int] | None = None
    """Top, left, bottom, right of what to look at, in pixels of the file; None is all of it."""
    mask: str | None = None
    """The mask to show beside `file`, relative to the data folder."""


@dataclass(frozen=True)
class DropFiles:
    """Leave files out of the repaired copy; an image takes its masks with it."""

    files: tuple[str, ...]


@dataclass(frozen=True)
class KeepInTraining:
    """Keep files in the training split only: drop those of `files` that lie in another split."""

    files: tuple[str, ...]


@dataclass(frozen=True)
class RecodeMask:
    """Write a mask as one band of the values in `codes`; other codes of the file stay as they are.

    The codes are those of `MaskDecoder`: grey values or palette positions below 256, or colours
    ``0xRRGGBB`` where `reading` says `colour`.
    """

    file: str
    reading: Literal["grey", "index", "colour"]
    codes: tuple[tuple[int, int], ...]
    """Pairs of a code found in the file and the value (0 to 255) to write for it."""


@dataclass(frozen=True)
class BinarizeMask:
    """Write 255 where a grey mask is at least `threshold` and 0 elsewhere."""

    file: str
    threshold: int


@dataclass(frozen=True)
class InvertMask:
    """Swap the two values of a mask."""

    file: str


@dataclass(frozen=True)
class Reorient:
    """Turn the pixels as the EXIF orientation says, and drop the tag."""

    file: str


@dataclass(frozen=True)
class DropOrientation:
    """Drop the EXIF orientation and leave the pixels as they are stored."""

    file: str


@dataclass(frozen=True)
class ResizeMask:
    """Crop or pad a mask, at its right and lower edge, to the size of its image."""

    file: str
    size: tuple[int, int]
    """Height and width to bring it to, in pixels."""
    fill: int | None = None
    """What to write into pixels that the mask lacks; None repeats its edge."""


@dataclass(frozen=True)
class ConvertImage:
    """Write an image with `num_channels` channels: an opaque alpha is dropped, grey repeated."""

    file: str
    num_channels: int


@dataclass(frozen=True)
class RemoveSpecks:
    """Remove the parts and fill the holes of a mask that have at most `max_pixels` pixels."""

    file: str
    max_pixels: int


Remedy: TypeAlias = (
    DropFiles
    | KeepInTraining
    | RecodeMask
    | BinarizeMask
    | InvertMask
    | Reorient
    | DropOrientation
    | ResizeMask
    | ConvertImage
    | RemoveSpecks
)
"""A repair that needs no judgement beyond accepting the finding, for one file or a few."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a data set, and all files that have it."""

    code: str
    """Kebab-case name of the check, such as `missing-mask`; the same in every release."""
    severity: Severity
    files: tuple[str, ...]
    """Relative to the data folder, sorted; empty where it concerns the set as a whole."""
    what: str
    """What is, with names and numbers; begins in lower case and ends without a full stop."""
    why: str
    """Why it matters, in a sentence of the same form."""
    fix: str
    """What settles it: the exact line of data.yaml, the flag or the command."""
    remedies: tuple[Remedy, ...] = ()
    """What `--fix` does about it, in order; empty where a person has to decide."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def sentence(self) -> str:
        """What is wrong and what to do, as `train` says it."""
        return f"{self.what}; {self.fix}"

    def to_json(self) -> dict[str, object]:
        """Return plain values for JSON; remedies name their kind."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        plain["remedies"] = [
            {"kind": type(remedy).__name__, **asdict(remedy)} for remedy in self.remedies
        ]
        plain["evidence"] = [asdict(item) for item in self.evidence]
        return plain


class FaultyDataError(DataError):
    """Data with findings that have to be settled first; the message is their sentences."""

    def __init__(
        self,
        findings: Sequence[Finding],
        *,
        subject: str = "",
        closing: str = "",
        proposal: Mapping[str, Any] | None = None,
    ) -> None:
        """Join the sentences of all findings.

        Args:
            findings: At least one.
            subject: The data set; begins the message.
            closing: A last line.
            proposal: Settings of the section `data` with which the data could be read.
        """
        sentences = [shorten(finding.sentence) for finding in findings]
        text = sentences[0]
        if len(sentences) > 1:
            text = "\n".join([f"{len(sentences)} errors", *(f"- {one}" for one in sentences)])
        text = f"{subject}: {text}" if subject else text
        super().__init__(f"{text}\n{closing}" if closing else text)
        self.findings = tuple(findings)
        self.proposal = proposal


NUM_EXAMPLES = 5
"""How many files a sentence names."""

MAX_SENTENCE = 800
"""Characters of a sentence that a terminal shows; lines of data.yaml may be longer."""


def count(things: Iterable[object], noun: str) -> str:
    """Return `1 image` or `3 images`."""
    number = len(list(things))
    return f"{number} {noun}{'' if number == 1 else 's'}"


def sample(names: Iterable[str]) -> str:
    """Return the first few names, and dots where there are more."""
    listed = list(names)
    return ", ".join(listed[:NUM_EXAMPLES]) + (", ..." if len(listed) > NUM_EXAMPLES else "")


def exclude_line(files: Iterable[str]) -> str:
    """Return how to leave files out: a flag where they are few, and the line of data.yaml."""
    patterns = [glob.escape(file) for file in sorted(set(files))]
    line = f"`exclude: [{', '.join(map(repr, patterns))}]`"
    if len(patterns) <= 2 and not any("," in pattern for pattern in patterns):
        flags = " ".join(f"--data.exclude {pattern!r}" for pattern in patterns)
        return f"`{flags}` (in data.yaml {line})"
    return f"{line} in data.yaml"


def shorten(text: str) -> str:
    """Return at most `MAX_SENTENCE` characters for a terminal, and where the rest is.

    What cannot be printed (names of files may hold anything) is replaced, so that no name moves
    the cursor or brings the output down.
    """
    text = "".join(sign if sign.isprintable() or sign == "\n" else "\ufffd" for sign in text)
    if len(text) <= MAX_SENTENCE:
        return text
    start = text[:MAX_SENTENCE]
    end = "`" if start.count("`") % 2 else ""
    return f"{start} ...{end} (whole in findings.json of 'delineate doctor')"
