"""Find image files in folders, and what their folders say about them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from delineate.config import DataConfig
from delineate.data.pairing import Entry, pair_entries, read_entry
from delineate.errors import DataError, UnreadableFileError
from delineate.rasters import SUFFIXES, image_suffix

_SKIPPED_FOLDERS = frozenset({"__MACOSX", "@eaDir"})
_OWN_FOLDERS = ({"config.yaml", "inventory.csv"}, {"metrics.json", "report.html"})
"""Files that tell a run and an evaluation, whose pictures are no data."""


def list_images(sources: Sequence[Path | str]) -> list[Path]:
    """Return the images that files, folders and glob patterns name, each once.

    Folders are searched with all their subfolders; files that are masks by their names are left
    out.

    Raises:
        UnreadableFileError: If a source does not exist or holds no image.
    """
    found: dict[Path, None] = {}
    for source in map(Path, sources):
        if source.is_dir():
            pairing = pair_entries(map(read_entry, _walk(source)))
            images = sorted(source / pair.image.path for pair in pairing.pairs)
        elif source.exists():
            images = [source]
        else:
            images = sorted(_glob(source)) if any(c in str(source) for c in "*?[") else []
        if not images:
            raise UnreadableFileError(f"{source} does not exist or holds no image")
        found |= dict.fromkeys(images)
    return list(found)


def _glob(pattern: Path) -> Iterator[Path]:
    root = Path(pattern.anchor) if pattern.is_absolute() else Path()
    for path in root.glob(str(pattern.relative_to(root))):
        if path.is_file() and image_suffix(path) in SUFFIXES:
            yield path


def _walk(root: Path) -> Iterator[PurePosixPath]:
    """Yield the image files below a folder, relative to it.

    Hidden files and the folders of runs and evaluations are left out.
    """
    for folder, subfolders, files in os.walk(root, followlinks=True):
        here = Path(folder)
        if here != root and (_is_loop(here) or any(own <= set(files) for own in _OWN_FOLDERS)):
            subfolders.clear()
            continue
        subfolders[:] = sorted(
            name for name in subfolders if name[0] != "." and name not in _SKIPPED_FOLDERS
        )
        below = here.relative_to(root)
        for name in sorted(files):
            path = PurePosixPath((below / name).as_posix())
            if name[0] != "." and image_suffix(path) in SUFFIXES:
                yield path


def _is_loop(folder: Path) -> bool:
    """Whether a link leads to a folder that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def find_entries(root: Path, config: DataConfig) -> Iterator[Entry]:
    """Yield the files of a data set with their roles."""
    images, masks = _expand(root, config.images), _expand(root, config.masks)
    is_parallel = 0 < len(config.images) == len(config.masks) and not any(
        map(_is_glob, (*config.images, *config.masks))
    )
    files = dict.fromkeys([*_walk(root), *images, *masks])
    for path in files:
        if any(is_excluded(path, pattern) for pattern in config.exclude):
            continue
        entry = read_entry(path)
        if path in masks:
            entry = replace(entry, role="mask")
        elif path in images:
            entry = replace(entry, role="image")
        elif (config.images and (config.masks or entry.role != "mask")) or (
            config.masks and entry.role == "mask"
        ):
            continue
        if is_parallel:
            # The n-th folder of images goes with the n-th folder of masks.
            number, below = (masks if entry.role == "mask" else images)[path]
            entry = replace(entry, scene=f"{number}:{read_entry(below).scene}")
        yield entry


def _expand(root: Path, patterns: Sequence[str]) -> dict[PurePosixPath, tuple[int, PurePosixPath]]:
    """Return the files that patterns name, with the pattern's number and the path below it."""
    found: dict[PurePosixPath, tuple[int, PurePosixPath]] = {}
    for number, pattern in enumerate(patterns):
        folder = root / pattern
        if folder.is_dir():
            below = {
                PurePosixPath(relative_path(folder / path, root)): path for path in _walk(folder)
            }
        else:
            paths = [folder] if folder.is_file() else _glob(folder)
            below = {PurePosixPath(relative_path(path, root)): PurePosixPath() for path in paths}
        if not below:
            raise DataError(f"{folder} holds no image; correct `data.images` or `data.masks`")
        found |= {path: (number, rest) for path, rest in below.items()}
    return found


def _is_glob(pattern: str) -> bool:
    return any(character in pattern for character in "*?[")


def relative_path(path: Path, root: Path) -> str:
    """Return `path` relative to `root` with forward slashes, upwards where it must be."""
    return Path(os.path.relpath(path, root)).as_posix()


def is_excluded(path: PurePosixPath, pattern: str) -> bool:
    """Return whether a pattern of `data.exclude` fits a file or a folder above it."""
    text = str(path)
    return fnmatchcase(text, pattern) or text.startswith(pattern.rstrip("/") + "/")
