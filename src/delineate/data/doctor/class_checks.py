"""Checks of classes: do they occur, in every split, in enough images, beside other classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator

import numpy as np

from delineate.data.doctor.findings import (
    DropFiles,
    Evidence,
    Finding,
    count,
    exclude_line,
    sample,
)
from delineate.data.doctor.records import Examination, PairRecord

MIN_IMAGES = 5
"""A class that occurs in fewer images is learned by heart, and its score is a matter of chance."""


def check_one_class(examination: Examination) -> Iterator[Finding]:
    """Find masks that are empty, full, ignored as a whole, or of a single class."""
    decoder = examination.decoder
    if decoder is None:
        return
    found: dict[str, list[PairRecord]] = {"ignored": [], "empty": [], "full": [], "single": []}
    known = [(pair, pair.content) for pair in examination.pairs if pair.content is not None]
    for pair, content in known:
        present = [index for index, pixels in enumerate(content.class_pixels) if pixels]
        if content.num_ignored and not present:
            found["ignored"].append(pair)
        elif decoder.task.kind == "binary":
            if present == [0]:
                found["empty"].append(pair)
            elif present == [1]:
                found["full"].append(pair)
        elif decoder.task.kind == "multilabel":
            if not present:
                found["empty"].append(pair)
        elif len(present) == 1:
            found["single"].append(pair)
    yield from _describe_one_class(found, [pair for pair, _ in known])


def _describe_one_class(
    found: dict[str, list[PairRecord]], known: list[PairRecord]
) -> Iterator[Finding]:
    for kind, code, words, why, advice in (
        (
            "ignored",
            "ignored-mask",
            "of which every pixel is ignored",
            "they cost time and teach nothing",
            "leave them out by {exclude}",
        ),
        (
            "empty",
            "empty-mask",
            "without any foreground",
            "if the objects were forgotten, they teach that such objects are background; if there "
            "are none, they are good examples",
            "look at them; draw what is missing, or leave them out by {exclude}",
        ),
        (
            "full",
            "full-mask",
            "of foreground alone",
            "a mask without an outline is often a placeholder, or inverted and empty",
            "look at them; leave out what is wrong by {exclude}",
        ),
        (
            "single",
            "single-class-mask",
            "of a single class",
            "a mask without an outline is often a placeholder",
            "look at them; leave out what is wrong by {exclude}",
        ),
    ):
        pairs = found[kind]
        if not pairs:
            continue
        whole = _whole_folders(pairs, known)
        rest = [pair for pair in pairs if _folder(pair) not in whole]
        suspects = rest or pairs
        both = {path for pair in suspects for path in (pair.image.path, *_mask_paths(pair))}
        yield Finding(
            code,
            "warning",
            tuple(sorted(path for pair in pairs for path in _mask_paths(pair))),
            f"{count(pairs, 'mask')} {words}, of {len(known)}: {_list_masks(whole, rest)}",
            why,
            advice.format(exclude=exclude_line(both)),
            (DropFiles(tuple(sorted(both))),) if kind == "ignored" else (),
            tuple(_show(pair) for pair in [*rest, *(one for one in pairs if one not in rest)]),
        )


def _whole_folders(pairs: list[PairRecord], known: list[PairRecord]) -> dict[str, int]:
    """Return folders of which all masks are so, which may be meant, with their numbers.

    None are returned where that would be all folders.
    """
    total = Counter(_folder(pair) for pair in known)
    found = Counter(_folder(pair) for pair in pairs)
    whole = {name: number for name, number in found.items() if number == total[name] > 1}
    return whole if len(whole) < len(total) else {}


def _list_masks(whole: dict[str, int], rest: list[PairRecord]) -> str:
    listed = [f"all {number} of {name}" for name, number in sorted(whole.items())]
    if rest:
        names = sample(sorted(pair.masks[0].path for pair in rest))
        listed.append(f"{len(rest)} elsewhere ({names})" if whole else names)
    return " and ".join(listed)


def _folder(pair: PairRecord) -> str:
    return pair.masks[0].path.rpartition("/")[0]


def _mask_paths(pair: PairRecord) -> list[str]:
    return [mask.path for mask in pair.masks]


def _show(pair: PairRecord, caption: str = "") -> Evidence:
    mask = pair.masks[0].path if len(pair.masks) == 1 else None
    return Evidence(pair.image.path, caption or pair.sample.split, mask=mask)


def check_class_counts(examination: Examination) -> Iterator[Finding]:
    """Find classes that occur nowhere, in some splits only, or in too few images."""
    decoder = examination.decoder
    if decoder is None:
        return
    names = decoder.task.class_names
    offset = 1 if decoder.task.kind == "binary" else 0
    holders: dict[str, list[PairRecord]] = {name: [] for name in names}
    known = [(pair, pair.content) for pair in examination.pairs if pair.content is not None]
    for pair, content in known:
        for index, name in enumerate(names):
            if content.class_pixels[index + offset]:
                holders[name].append(pair)
    if not known:
        return
    absent = [name for name, pairs in holders.items() if not pairs]
    if absent:
        yield Finding(
            "absent-class",
            "warning",
            (),
            f"{count(absent, 'class')} in no mask: {', '.join(absent)}".replace(
                "classs", "classes"
            ),
            "a class without a pixel cannot be learned, and has no score",
            "correct `data.legend` or `task.class_names`, or take the class out",
        )
    splits = [
        split
        for split in ("train", "val", "test")
        if any(p.sample.split == split for p, _ in known)
    ]
    if len(splits) > 1:
        yield from _check_splits(holders, splits)
    rare = {name: pairs for name, pairs in holders.items() if 0 < len(pairs) < MIN_IMAGES}
    if rare and len(known) >= 2 * MIN_IMAGES:
        listed = ", ".join(f"{name} in {len(pairs)}" for name, pairs in rare.items())
        yield Finding(
            "rare-class",
            "warning",
            tuple(sorted({pair.image.path for pairs in rare.values() for pair in pairs})),
            f"{_classes(rare)} in fewer than {MIN_IMAGES} of {len(known)} images: {listed}",
            "so few examples are learned by heart, and a score over them is a matter of chance",
            "add images that show them, or merge them with another class in `data.legend`",
            evidence=tuple(_show(pair, name) for name, pairs in rare.items() for pair in pairs),
        )


def _check_splits(holders: dict[str, list[PairRecord]], splits: list[str]) -> Iterator[Finding]:
    missing = {
        name: [split for split in splits if split not in {pair.sample.split for pair in pairs}]
        for name, pairs in holders.items()
        if pairs
    }
    unlearned = [name for name, lacking in missing.items() if "train" in lacking]
    unscored = {name: gone for name, gone in missing.items() if gone and "train" not in gone}
    if unlearned:
        pairs = [pair for name in unlearned for pair in holders[name]]
        yield Finding(
            "class-not-in-training",
            "error",
            tuple(sorted({pair.image.path for pair in pairs})),
            f"{_classes(unlearned)} in no training image: {', '.join(unlearned)}",
            "what training never shows cannot be learned, and counts against every model",
            "move images that show it into training, or draw other splits by `--data.split-seed 1`",
            evidence=tuple(_show(pair) for pair in pairs),
        )
    if unscored:
        listed = ", ".join(f"{name} ({' and '.join(gone)})" for name, gone in unscored.items())
        yield Finding(
            "class-not-in-split",
            "warning",
            (),
            f"{_classes(unscored)} absent from a split: {listed}",
            "a class that validation lacks steers nothing, and one the test lacks has no score",
            "move images that show it, or draw other splits by `--data.split-seed 1`",
            evidence=tuple(_show(pair, name) for name in unscored for pair in holders[name][:4]),
        )


def check_void(examination: Examination) -> Iterator[Finding]:
    """Find a last id that looks like what nobody labelled: scraps between all other classes."""
    decoder, data = examination.decoder, examination.data
    if decoder is None or decoder.task.kind != "multiclass" or data.legend or data.ignore:
        return
    last = decoder.task.num_classes - 1
    contents = [pair.content for pair in examination.pairs if pair.content is not None]
    holders = [content for content in contents if content.class_pixels[last]]
    if examination.task.class_names or last < 4 or len(holders) < 0.95 * len(contents):
        return
    touched = np.mean(
        [
            content.class_neighbours[last] / max(1, sum(map(bool, content.class_pixels)) - 1)
            for content in holders
        ]
    )
    raggedness = np.median(
        [content.class_outlines[last] / content.class_pixels[last] for content in holders]
    )
    share = np.mean([content.class_pixels[last] / sum(content.class_pixels) for content in holders])
    if touched < 0.9 or raggedness < 0.3 or share > 0.1:
        return
    value = decoder.classes[last][0]
    yield Finding(
        "void-like-class",
        "warning",
        (),
        f"the last value, {value}, lies in scraps ({share:.1%} of the pixels) between nearly all "
        f"other classes in {len(holders)} of {len(contents)} images, as void does",
        "pixels that nobody labelled are no class; learned as one, they spoil the others and the "
        "mean score",
        f"if it is void, write `--data.ignore {value}` (in data.yaml `ignore: [{value}]`); if not, "
        "name all classes by `task.class_names`",
        evidence=tuple(_show(pair) for pair in examination.pairs[:6]),
    )


def _classes(names: Collection[str]) -> str:
    number = len(names)
    return "1 class" if number == 1 else f"{number} classes"
