"""Say what is wrong with how images and masks were paired, and which setting helps."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from delineate.data.doctor.findings import (
    NUM_EXAMPLES,
    DropFiles,
    Evidence,
    Finding,
    count,
    exclude_line,
    sample,
)
from delineate.data.pairing import Entry, Pairing

_UNPAIRED = "a mask that goes with the wrong image, or with none, teaches nothing or what is wrong"


def describe_pairing(pairing: Pairing, mask_suffix: str | None = None) -> Iterator[Finding]:
    """Yield masks of several images, images of several masks, and masks without an image.

    Images without a mask are told by `describe_bare`, as prediction has no need of masks.
    """
    claims: dict[Entry, list[str]] = defaultdict(list)
    for pair in pairing.pairs:
        for mask in pair.masks:
            claims[mask].append(str(pair.image.path))
    shared = {mask: images for mask, images in claims.items() if images[1:]}
    if shared:
        yield _describe_shared(shared)
    if pairing.ambiguous:
        yield _describe_ambiguous(pairing.ambiguous)
    if pairing.orphans:
        unmatched = [
            pair.image
            for pair in pairing.pairs
            if not pair.masks and pair.image not in pairing.ambiguous
        ]
        yield _describe_orphans(pairing.orphans, unmatched, mask_suffix)


def describe_bare(bare: Sequence[str], images: Sequence[str]) -> Finding:
    """Return the finding for images without a mask.

    Args:
        bare: Their paths, relative to the data folder.
        images: The paths of all images.
    """
    folder = str(PurePosixPath(bare[0]).parent)
    in_folder = {path for path in images if str(PurePosixPath(path).parent) == folder}
    advice = f"add the masks, or leave the images out by {exclude_line(bare)}"
    if in_folder == set(bare) and len(bare) > 1:
        pattern = f"{folder}/*"
        advice = (
            f"add the masks, or leave the images out by `--data.exclude {pattern!r}` (in data.yaml "
            f"`exclude: [{pattern!r}]`)"
        )
    if len(bare) == len(images):
        advice = (
            "name masks as their images (or with a suffix such as _mask), in a folder of their own "
            "(masks, labels, ...), or say where they are: `--data.masks FOLDER`"
        )
    return Finding(
        "missing-mask",
        "error",
        tuple(sorted(bare)),
        f"{count(bare, 'image')} of {len(images)} without a mask ({sample(bare)})",
        "without a mask there is nothing to learn from an image and nothing to score it against",
        advice,
        (DropFiles(tuple(sorted(bare))),) if len(bare) < len(images) else (),
        tuple(Evidence(path) for path in bare),
    )


def _describe_shared(shared: Mapping[Entry, Sequence[str]]) -> Finding:
    listed = [f"{mask.path} of {', '.join(images)}" for mask, images in shared.items()]
    files = {str(mask.path) for mask in shared}.union(*shared.values())
    return Finding(
        "shared-mask",
        "error",
        tuple(sorted(files)),
        f"{count(listed, 'mask')} that several images match ({sample(listed)})",
        _UNPAIRED,
        "rename the images, or leave the surplus ones out by `exclude`",
        evidence=tuple(
            Evidence(image, mask=str(mask.path))
            for mask, images in shared.items()
            for image in images
        ),
    )


def _describe_ambiguous(ambiguous: Mapping[Entry, Sequence[tuple[str, Entry]]]) -> Finding:
    listed = [
        f"{image.path}: {', '.join(str(mask.path) for _, mask in candidates)}"
        for image, candidates in ambiguous.items()
    ]
    examples = "; ".join(listed[:NUM_EXAMPLES]) + ("; ..." if len(listed) > NUM_EXAMPLES else "")
    affixes = Counter(
        affix for found in ambiguous.values() for affix in {affix for affix, _ in found}
    )
    names = sorted(affixes, key=lambda affix: (-affixes[affix], affix))
    folders = sorted({str(mask.path.parent) for found in ambiguous.values() for _, mask in found})
    if len(names) > 1:
        others = " or ".join(repr(name) for name in names[1:])
        advice = (
            f"choose one by `--data.mask-suffix {names[0] or repr('')}` (in data.yaml "
            f"`mask_suffix: {names[0]!r}`), or {others}"
        )
    elif len(folders) > 1:
        advice = (
            f"choose one by `--data.masks {folders[0]!r}` (in data.yaml "
            f"`masks: [{folders[0]!r}]`), or {' or '.join(map(repr, folders[1:]))}"
        )
    else:
        advice = "leave one out by `exclude`, or rename it"
    files = {str(image.path) for image in ambiguous} | {
        str(mask.path) for found in ambiguous.values() for _, mask in found
    }
    return Finding(
        "ambiguous-mask",
        "error",
        tuple(sorted(files)),
        f"{count(ambiguous, 'image')} match several masks ({examples})",
        "which mask is the truth (of two annotators, of two versions) is not ours to guess",
        advice,
        evidence=tuple(
            Evidence(str(image.path), PurePosixPath(mask.path).name, mask=str(mask.path))
            for image, found in ambiguous.items()
            for _, mask in found
        ),
    )


def _describe_orphans(
    orphans: Sequence[Entry], unmatched: Sequence[Entry], mask_suffix: str | None
) -> Finding:
    paths = [str(mask.path) for mask in orphans]
    advice = f"name them as their images, or leave them out by {exclude_line(paths)}"
    stems = {image.stem for image in unmatched}
    added = Counter(
        mask.stem[len(stem) :]
        for mask in orphans
        for stem in stems
        if mask.stem.startswith(stem) and len(mask.stem) > len(stem)
    )
    is_suffix = False
    if mask_suffix is None and added:
        [(suffix, number)] = added.most_common(1)
        is_suffix = 2 * number >= len(orphans)
        if is_suffix:
            advice = f"set `--data.mask-suffix {suffix}` (in data.yaml `mask_suffix: {suffix!r}`)"
    return Finding(
        "orphan-mask",
        "error",
        tuple(sorted(paths)),
        f"{count(orphans, 'mask')} without an image ({sample(paths)})",
        _UNPAIRED,
        advice,
        () if is_suffix else (DropFiles(tuple(sorted(paths))),),
        tuple(Evidence(path) for path in paths),
    )
