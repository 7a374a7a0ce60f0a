"""Checks of files: can they be read, and do image and mask have one size and one orientation."""

from __future__ import annotations

from collections.abc import Iterator

from delineate.data.doctor.findings import (
    DropFiles,
    DropOrientation,
    Evidence,
    Finding,
    Remedy,
    Reorient,
    ResizeMask,
    count,
    exclude_line,
    sample,
)
from delineate.data.doctor.records import Examination, FileRecord, MaskRecord, PairRecord

MAX_RESIZE_SHARE = 0.05
"""A mask whose sides differ by at most this share from its image's is padded or cropped by `--fix`;
beyond, it is of another image, or of another resolution."""


def check_readable(examination: Examination) -> Iterator[Finding]:
    """Find files that cannot be decoded, and masks that are none."""
    root = str(examination.listing.root)
    masks: dict[str, FileRecord] = {
        mask.path: mask for pair in examination.pairs for mask in pair.masks
    }
    masks |= {mask.path: mask for mask in examination.others}
    images = [pair.image for pair in examination.pairs]
    broken = [record for record in (*images, *masks.values()) if _is_unreadable(record)]
    if broken:
        partners = examination.with_partners(record.path for record in broken)
        yield Finding(
            "unreadable-file",
            "error",
            tuple(sorted(record.path for record in broken)),
            f"{count(broken, 'file')} that cannot be read: {_reasons(broken, root)}",
            "a file that does not decode whole stops the training, or enters it with wrong pixels",
            f"replace {'it' if len(broken) == 1 else 'them'}, or leave "
            f"{'it' if len(broken) == 1 else 'them'} out by {exclude_line(partners)}",
            (DropFiles(tuple(sorted(partners))),),
        )
    foreign = [mask for mask in masks.values() if mask.error and not _is_unreadable(mask)]
    if foreign:
        partners = examination.with_partners(mask.path for mask in foreign)
        yield Finding(
            "not-a-mask",
            "error",
            tuple(sorted(mask.path for mask in foreign)),
            f"{count(foreign, 'file')} that hold no mask: {_reasons(foreign, root)}",
            "a mask holds a class for each pixel, as a whole number or as a colour",
            f"write them again, or leave them out by {exclude_line(partners)}",
            (DropFiles(tuple(sorted(partners))),),
            tuple(Evidence(mask.path) for mask in foreign),
        )


def _is_unreadable(record: FileRecord) -> bool:
    return record.error is not None and not record.dtype


def _reasons(records: list[FileRecord], root: str) -> str:
    reasons = [
        (record.error or "").replace(f"{root}/", "").rpartition("; ")[0] or str(record.error)
        for record in records
    ]
    return "; ".join(reasons[:10]) + ("; ..." if len(reasons) > 10 else "")


def check_sizes(examination: Examination) -> Iterator[Finding]:
    """Find masks of another size than their image, and images that EXIF turns away from them."""
    turned: list[tuple[PairRecord, MaskRecord]] = []
    different: list[tuple[PairRecord, MaskRecord]] = []
    for pair in examination.pairs:
        for mask in pair.masks:
            if None in (pair.image.size, mask.size) or pair.image.size == mask.size:
                continue
            is_turned = _stored_size(pair.image) == _stored_size(mask)
            (turned if is_turned else different).append((pair, mask))
    if turned:
        listed = [f"{pair.image.path} ({_turn(pair.image, mask)})" for pair, mask in turned]
        yield Finding(
            "exif-rotation",
            "error",
            tuple(sorted(path for pair, mask in turned for path in (pair.image.path, mask.path))),
            f"{count(turned, 'mask')} drawn on the pixels as they are stored, while EXIF turns the "
            f"image: {sample(listed)}",
            "once the image is turned as its tag says, the mask no longer lies on it",
            "take the tag off the files (`exiftool -Orientation= FILE`, or a copy by "
            "`delineate doctor DATA --fix OUT`)",
            tuple(
                DropOrientation(record.path)
                for pair, mask in turned
                for record in (pair.image, mask)
                if record.orientation != 1
            ),
            tuple(Evidence(pair.image.path, mask=mask.path) for pair, mask in turned),
        )
    if different:
        yield _describe_sizes(different)


def _describe_sizes(different: list[tuple[PairRecord, MaskRecord]]) -> Finding:
    listed = []
    remedies: list[Remedy] = []
    lost: set[str] = set()
    for pair, mask in different:
        (height, width), (rows, columns) = pair.image.size or (0, 0), mask.size or (0, 0)
        listed.append(f"{mask.path} is {rows}x{columns}, its image {height}x{width}")
        if max(abs(rows / height - 1), abs(columns / width - 1)) <= MAX_RESIZE_SHARE:
            remedies.append(ResizeMask(mask.path, (height, width)))
        else:
            lost |= {pair.image.path, *(one.path for one in pair.masks)}
    both = {path for pair, mask in different for path in (pair.image.path, mask.path)}
    if lost:
        remedies.append(DropFiles(tuple(sorted(lost))))
    return Finding(
        "size-mismatch",
        "error",
        tuple(sorted(mask.path for _, mask in different)),
        f"masks of another size than their image ({len(different)}): {sample(listed)}",
        "which pixel of the image a pixel of the mask belongs to is not known",
        f"replace one of the two, or leave both out by {exclude_line(both)}",
        tuple(remedies),
        tuple(
            Evidence(pair.image.path, mask.path.rpartition("/")[2], mask=mask.path)
            for pair, mask in different
        ),
    )


def check_orientations(examination: Examination) -> Iterator[Finding]:
    """Find pairs of which EXIF turns one file alone although the sizes agree, and bad tags."""
    odd = [
        (pair, mask)
        for pair in examination.pairs
        for mask in pair.masks[:1]
        if pair.image.size == mask.size
        and pair.image.size is not None
        and max(pair.image.orientation, 1) != max(mask.orientation, 1)
    ]
    if odd:
        listed = [f"{pair.image.path} ({_turn(pair.image, mask)})" for pair, mask in odd]
        yield Finding(
            "exif-one-sided",
            "warning",
            tuple(sorted(path for pair, mask in odd for path in (pair.image.path, mask.path))),
            f"{count(odd, 'pair')} of which EXIF turns one file alone: {sample(listed)}",
            "here the tag is obeyed, but a mask that was drawn by a tool that ignores it lies "
            "askew, and so does every mask in a tool that ignores it",
            "look whether the masks lie on the images; a copy with upright pixels and no tags is "
            "written by `delineate doctor DATA --fix OUT`",
            tuple(
                Reorient(record.path)
                for pair, mask in odd
                for record in (pair.image, mask)
                if record.orientation > 1
            ),
            tuple(Evidence(pair.image.path, mask=mask.path) for pair, mask in odd),
        )
    turned = sorted(
        pair.image.path
        for pair in examination.pairs
        if not pair.masks and pair.image.orientation > 1
    )
    if turned:
        yield Finding(
            "exif-oriented",
            "warning",
            tuple(turned),
            f"{count(turned, 'image')} without a mask that EXIF turns ({sample(turned)})",
            "a mask that is drawn by a tool that ignores the tag will not lie on the image",
            "nothing for delineate; before masks are drawn, a copy with upright pixels and no tags "
            "is safer: `delineate doctor DATA --fix OUT`",
            tuple(Reorient(path) for path in turned),
            tuple(Evidence(path) for path in turned),
        )
    bad = sorted(
        record.path
        for pair in examination.pairs
        for record in (pair.image, *pair.masks)
        if record.orientation == 0
    )
    if bad:
        yield Finding(
            "exif-invalid",
            "warning",
            tuple(bad),
            f"{count(bad, 'file')} whose EXIF orientation is no number from 1 to 8 ({sample(bad)})",
            "here such files count as upright; other tools may turn or refuse them",
            "take the tag off (`exiftool -Orientation= FILE`)",
            tuple(DropOrientation(path) for path in bad),
            tuple(Evidence(path) for path in bad),
        )


def _turn(image: FileRecord, mask: FileRecord) -> str:
    return f"orientation {image.orientation}, its mask {mask.orientation}"


def _stored_size(record: FileRecord) -> tuple[int, int] | None:
    """Return the size before EXIF was obeyed."""
    if record.size is None or record.orientation < 5:
        return record.size
    return record.size[1], record.size[0]
