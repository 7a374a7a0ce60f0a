"""Find which masks belong to which image, by the names of files and folders, never by position."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Literal

Role = Literal["image", "mask"]
Split = Literal["train", "val", "test"]

SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "tr": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
    "ts": "test",
}
"""What splits are called in the names of folders and in CSV files."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_IMAGE_WORDS = _words(
    "image images img imgs picture pictures photo photos input inputs rgb jpegimages frames"
)
_MASK_WORDS = _words(
    "mask masks label labels lbl lbls annotation annotations annot annots ann anns anno annos gt "
    "gts groundtruth truth seg segs segmentation segmentations segmentationclass target targets "
    "manual trimap trimaps matte mattes"
)
_FILLERS = _words("dir folder set data 1st 2nd 3rd png jpg tif ground")

_MASK_AFFIX = (
    r"(?:masks?|labels?|lbl|gt|ground[_\- ]?truth|seg|segmentation|annot|annotation|anno|ann|"
    r"target|matte|binary|manual\d*|\d(?:st|nd|rd|th)(?:[_\- ]?(?:HO|manual))?|L)"
)
_SUFFIX = re.compile(
    rf"^(?P<base>.*?)(?P<affix>(?:^|[_\-. ]){_MASK_AFFIX})(?P<number>_\d+)?$", re.I
)
_PREFIX = re.compile(rf"^(?P<affix>{_MASK_AFFIX}[_\-. ])(?P<base>.+)$", re.I)
_IMAGE_SUFFIX = re.compile(
    r"^(.*?)(?:^|[_\-. ])(?:image|img|sat|rgb|raw|photo|input|training|test)$", re.I
)
_IMAGE_PREFIX = re.compile(r"^(?:image|img|sat|rgb|raw|photo|input)[_\-. ](.+)$", re.I)
_FILE_ENDING = re.compile(r"\.(?:png|jpe?g|bmp|gif|webp|tiff?)$", re.I)


@dataclass(frozen=True)
class Entry:
    """A file, and what its folders say about it."""

    path: PurePosixPath
    """Relative to the data folder."""
    role: Role | None
    """What the folders say that it holds."""
    split: Split | None
    """The split that the folders name."""
    scene: str
    """The folders without those that name a role or a split; equal scenes belong together."""

    @property
    def stem(self) -> str:
        """The name without its last ending."""
        return self.path.stem


@dataclass(frozen=True)
class Pair:
    """An image and its masks; several are the instances of one image."""

    image: Entry
    masks: tuple[Entry, ...]


@dataclass(frozen=True)
class Pairing:
    """Which masks belong to which image, and what is left over."""

    pairs: tuple[Pair, ...]
    """Every image; without a mask where none matches, or several do."""
    ambiguous: Mapping[Entry, tuple[tuple[str, Entry], ...]]
    """Images that several masks match: what each mask adds to the image's name, and the mask."""
    orphans: tuple[Entry, ...]
    """Masks that no image matches."""


def read_entry(path: PurePosixPath) -> Entry:
    """Read role, split and scene off the folders of a file; the deepest that tells counts."""
    role: Role | None = None
    split: Split | None = None
    scene: list[str] = []
    for name in reversed(path.parts[:-1]):
        found_role, found_split, rest = _read_folder(name)
        if found_role is not None and role is None:
            role = found_role
        elif found_role is not None:
            rest = name
        if found_split is not None and split is None:
            split = found_split
        if rest:
            scene.append(rest)
    return Entry(path, role, split, "/".join(reversed(scene)))


def _read_folder(name: str) -> tuple[Role | None, Split | None, str]:
    """Return the role and the split that a folder's name says, and what else it says.

    ``trainannot``, ``train_images``, ``masks (test)`` and ``val2017`` say something; a name with a
    number of its own, such as ``img_0001`` or ``test 3``, is a scene.
    """
    role: Role | None = None
    split: Split | None = None
    rest: list[str] = []
    for token in re.findall(r"[a-z0-9]+", name.lower()):
        found_role, found_split = _read_token(token)
        if found_role is None and found_split is None:
            if token not in _FILLERS:
                rest.append(token)
            continue
        role = "mask" if "mask" in (role, found_role) else found_role or role
        split = found_split or split
    if role is None and split is None:
        return None, None, name
    if not all(token.isalpha() for token in rest) or (split is not None and rest):
        return None, None, name
    return role, split, " ".join(rest)


def _read_token(token: str) -> tuple[Role | None, Split | None]:
    if token in _MASK_WORDS:
        return "mask", None
    if token in _IMAGE_WORDS:
        return "image", None
    year = re.fullmatch(r"([a-z]+?)(?:19|20)\d\d", token)
    token = year[1] if year else token
    if token in SPLIT_WORDS and (len(token) > 2 or year):
        return None, SPLIT_WORDS[token]
    for word, split in SPLIT_WORDS.items():
        for other in (token.removeprefix(word), token.removesuffix(word)):
            if other != token and other in _MASK_WORDS | _IMAGE_WORDS:
                return ("mask" if other in _MASK_WORDS else "image"), split
    return None, None


def pair_entries(entries: Iterable[Entry], mask_suffix: str | None = None) -> Pairing:
    """Pair images with masks.

    Within a scene of a split, a mask belongs to the image whose name is its own without one of the
    usual suffixes or prefixes (`mask_suffix` alone, where it is given; `*` in it stands for
    anything, and makes the files instances of one image). Where no folder names a role, files of
    such names are the masks of the others, and of two files that differ in their ending alone the
    JPEG is the image. All masks of a scene with a single image belong to it if none of them bears
    its name. Masks whose scene has no image, and images whose scene has no mask, are matched by
    name across scenes if that is unique.

    `describe_pairing` says what is wrong with the outcome.
    """
    groups: dict[tuple[str | None, str], list[Entry]] = defaultdict(list)
    for entry in sorted(entries, key=lambda entry: entry.path):
        groups[entry.split, entry.scene].append(entry)
    matches: dict[Entry, list[tuple[str, Entry]]] = {}
    orphans: list[Entry] = []
    for (_, scene), members in groups.items():
        images, masks = _assign_roles(members, mask_suffix)
        found, left = _match(images, masks, mask_suffix)
        if scene and len(images) == 1 and masks and not any(found.values()):
            found, left = {images[0]: [("*", mask) for mask in masks]}, []
        matches |= found
        orphans += left
    orphans = _match_across(matches, orphans, mask_suffix)
    return _settle(matches, orphans)


def _assign_roles(members: list[Entry], mask_suffix: str | None) -> tuple[list[Entry], list[Entry]]:
    """Return the images and the masks among the files of one scene of one split."""
    images = [entry for entry in members if entry.role == "image"]
    masks = [entry for entry in members if entry.role == "mask"]
    if masks:
        return images or [entry for entry in members if entry.role is None], masks
    stems = defaultdict(list)
    for entry in members:
        stems[entry.stem].append(entry)
    keys = Counter(key for entry in members for key in _image_keys(entry.stem))
    for entry in members:
        twins = stems[entry.stem]
        is_lossless_twin = (
            len(twins) == 2 and not _is_jpeg(entry) and any(_is_jpeg(twin) for twin in twins)
        )
        bases = [base for base, affix in _mask_bases(entry.stem, mask_suffix) if affix]
        bases += [base for base, affix in _mask_bases(entry.stem, None) if affix]
        if is_lossless_twin or any(keys[base] for base in bases):
            masks.append(entry)
    return [entry for entry in members if entry not in set(masks)], masks


def _is_jpeg(entry: Entry) -> bool:
    return entry.path.suffix.lower() in (".jpg", ".jpeg")


def _image_keys(stem: str) -> list[str]:
    """Return the names that a mask of this image may carry, best first."""
    stripped = [pattern.match(stem) for pattern in (_IMAGE_SUFFIX, _IMAGE_PREFIX)]
    return [stem, *(found[1] for found in stripped if found)]


def _mask_bases(stem: str, mask_suffix: str | None) -> list[tuple[str, str]]:
    """Return (name of the image, what the mask adds to it), best first; `*` marks instances."""
    if mask_suffix is not None:
        if "*" not in mask_suffix:
            fits = stem.endswith(mask_suffix)
            return [(stem[: len(stem) - len(mask_suffix)], mask_suffix)] if fits else []
        cuts = range(1, len(stem) + 1)
        return [(stem[:i], mask_suffix) for i in cuts if fnmatchcase(stem[i:], mask_suffix)]
    bases = [(stem, "")]
    if ending := _FILE_ENDING.search(stem):
        bases.append((stem[: ending.start()], ending[0]))
    if found := _SUFFIX.match(stem):
        # A number behind `_mask` counts the parts of one image; `_manual2` is another annotator.
        bases.append((found["base"], found["affix"] + ("*" if found["number"] else "")))
    if found := _PREFIX.match(stem):
        bases.append((found["base"], found["affix"]))
    return bases


def _match(
    images: list[Entry], masks: list[Entry], mask_suffix: str | None
) -> tuple[dict[Entry, list[tuple[str, Entry]]], list[Entry]]:
    """Return the masks of each image with what they add to its name, and the masks left over."""
    found: dict[Entry, list[tuple[str, Entry]]] = {image: [] for image in images}
    exact: dict[str, list[Entry]] = defaultdict(list)
    loose: dict[str, list[Entry]] = defaultdict(list)
    for image in images:
        first, *others = _image_keys(image.stem)
        exact[first].append(image)
        for key in others:
            loose[key].append(image)
    left: list[Entry] = []
    for mask in masks:
        bases = _mask_bases(mask.stem, mask_suffix)
        if not bases:
            continue
        for table, (base, affix) in [(t, b) for t in (exact, loose) for b in bases]:
            if table[base]:
                for image in table[base]:
                    found[image].append((affix, mask))
                break
        else:
            left.append(mask)
    return found, left


def _match_across(
    matches: dict[Entry, list[tuple[str, Entry]]], orphans: list[Entry], mask_suffix: str | None
) -> list[Entry]:
    """Match masks of scenes without images to images of scenes without masks; return the rest."""
    image_scenes = {(image.split, image.scene) for image in matches}
    mask_scenes = {(image.split, image.scene) for image, masks in matches.items() if masks}
    mask_scenes |= {(mask.split, mask.scene) for mask in orphans}
    images = [image for image in matches if (image.split, image.scene) not in mask_scenes]
    left: list[Entry] = []
    for mask in orphans:
        near = [
            image
            for image in images
            if None in (image.split, mask.split) or image.split == mask.split
        ]
        found, _ = _match(near, [mask], mask_suffix)
        hits = [image for image, masks in found.items() if masks]
        if len(hits) != 1 or (mask.split, mask.scene) in image_scenes:
            left.append(mask)
            continue
        matches[hits[0]] += found[hits[0]]
    return left


def _settle(matches: dict[Entry, list[tuple[str, Entry]]], orphans: list[Entry]) -> Pairing:
    pairs: list[Pair] = []
    ambiguous: dict[Entry, tuple[tuple[str, Entry], ...]] = {}
    for image, candidates in matches.items():
        kinds = {affix.removesuffix("*") for affix, _ in candidates}
        is_instances = len(kinds) == 1 and any("*" in affix for affix, _ in candidates)
        masks = tuple(mask for _, mask in candidates)
        if len(masks) > 1 and not is_instances:
            ambiguous[image] = tuple(candidates)
            masks = ()
        pairs.append(Pair(image, masks))
    return Pairing(tuple(pairs), ambiguous, tuple(orphans))
