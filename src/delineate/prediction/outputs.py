"""Which files a prediction writes, settled before anything is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from delineate.data.inventory import list_images
from delineate.errors import DataError, UnknownNameError, UsageError
from delineate.polygons.files import SUFFIXES as VECTOR_SUFFIXES
from delineate.rasters import SUFFIXES, TIFF_SUFFIXES

Product = Literal["mask", "prob", "overlay", "polygons", "lines"]

VECTOR_PRODUCTS: frozenset[Product] = frozenset({"polygons", "lines"})
"""Products that are vector files, made from the mask."""

_ENDINGS: dict[Product, str] = {
    "prob": "_prob.tif",
    "overlay": "_overlay.png",
    "polygons": ".gpkg",
    "lines": "_lines.gpkg",
}

_PICTURE_SUFFIXES = frozenset({".png", *TIFF_SUFFIXES})
_NUM_SHOWN = 5


@dataclass(frozen=True)
class Job:
    """One image and the files to write for it."""

    image: Path
    """The image to segment."""
    place: Path
    """Output path without its ending; products add to it."""
    products: tuple[Product, ...]
    """What to write."""
    is_multilabel: bool
    """Whether the mask has bands, which PNG cannot hold."""
    file: Path | None = None
    """The exact path of the first product, where the user named one."""

    def path(self, product: Product, *, needs_tiff: bool = False) -> Path:
        """Return where a product goes.

        Args:
            product: One of `products`.
            needs_tiff: Whether the mask has a place on the ground or pixels without data.
        """
        if self.file is not None and product == self.products[0]:
            return self.file
        if product == "mask":
            ending = ".tif" if self.is_multilabel or needs_tiff else ".png"
        else:
            ending = _ENDINGS[product]
        return self.place.with_name(self.place.name + ending)

    @property
    def candidates(self) -> set[Path]:
        """Every path that may be written, whatever the image turns out to hold."""
        # A mask is a TIFF where pixels lack data, too, or where options ask for bands.
        return {self.path(p, needs_tiff=needs) for p in self.products for needs in (False, True)}


def plan_outputs(
    sources: Sequence[Path],
    out: Path,
    save: Sequence[str] = ("mask",),
    *,
    is_multilabel: bool = False,
    exist_ok: bool = False,
) -> list[Job]:
    """Return one job per image, or refuse all before any work.

    Masks go to ``NAME.png`` (``NAME.tif`` for a georeferenced image, one with pixels without data,
    or a multilabel model), probabilities to ``NAME_prob.tif``, overlays to ``NAME_overlay.png``,
    polygons to ``NAME.gpkg`` and centre lines to ``NAME_lines.gpkg``.
    Below a source folder the folders are kept. What lies in `out` is not taken for a source.

    Args:
        sources: Images, folders of images, and glob patterns.
        out: A folder; where the one source is an image, also a file for the first product.
        save: Any of ``mask``, ``prob``, ``overlay``, ``polygons`` and ``lines``.
        is_multilabel: Whether masks have a band per class.
        exist_ok: Whether files that are there may be replaced; a source never is.

    Raises:
        UsageError: If names collide, outputs exist, or `out` and `save` do not fit the sources.
        DataError: If a source is missing or holds no image; the message names all such.
    """
    products = _order_products(save)
    images = _list_sources(sources, out)
    if not images:
        raise DataError(f"there is no image in {_shorten(map(str, sources))}")
    if names_file(out):
        if len(sources) != 1 or sources[0].is_dir():
            raise UsageError(
                f"--out {out} is one file but there are {len(images)} images; name a folder"
            )
        _check_ending(out, products[0], is_multilabel)
        place = out.with_suffix("")
        jobs = [Job(images[0][0], place, products, is_multilabel, file=out)]
    elif out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; name a folder, or a file that ends in .png")
    else:
        jobs = [
            Job(image, out / relative.with_suffix(""), products, is_multilabel)
            for image, relative in images
        ]
    _check_collisions(jobs)
    existing = sorted(str(path) for job in jobs for path in job.candidates if path.exists())
    if existing and not exist_ok:
        raise UsageError(
            f"{len(existing)} of the results exist already: {_shorten(existing)}; give --exist-ok "
            "to replace them, or another --out"
        )
    return jobs


def names_file(out: Path) -> bool:
    """Return whether an output is meant as a file, not as a folder."""
    return out.suffix.lower() in SUFFIXES | set(VECTOR_SUFFIXES) and not out.is_dir()


def _order_products(save: Sequence[str]) -> tuple[Product, ...]:
    choices = get_args(Product)
    for name in save:
        if name not in choices:
            raise UnknownNameError("product", name, list(choices))
    if not save:
        raise UsageError(f"nothing to save; choose of {', '.join(choices)}")
    return cast("tuple[Product, ...]", tuple(name for name in choices if name in save))


def _list_sources(sources: Sequence[Path], out: Path) -> list[tuple[Path, Path]]:
    """Return each image once, with its path relative to the source it came from."""
    found: dict[Path, tuple[Path, Path]] = {}
    problems: list[str] = []
    results = out.resolve()
    for source in sources:
        root = source if source.is_dir() else None
        try:
            images = list_images([source])
        except DataError as error:
            problems.append(str(error))
            continue
        if root is not None and results != root.resolve():
            images = [image for image in images if results not in image.resolve().parents]
        for image in images:
            relative = image.relative_to(root) if root else Path(image.name)
            found.setdefault(image.resolve(), (image, relative))
    if problems:
        raise DataError("; ".join(problems))
    return list(found.values())


def _check_ending(out: Path, product: Product, is_multilabel: bool) -> None:
    needs_tiff = product == "prob" or (product == "mask" and is_multilabel)
    endings = TIFF_SUFFIXES if needs_tiff else _PICTURE_SUFFIXES
    if product in VECTOR_PRODUCTS:
        endings = frozenset(VECTOR_SUFFIXES)
    if out.suffix.lower() not in endings:
        choices = " or ".join(sorted(endings))
        raise UsageError(f"--out {out} cannot hold this model's {product}; end it in {choices}")


def _check_collisions(jobs: Sequence[Job]) -> None:
    images = {job.image.resolve() for job in jobs}
    owners: dict[Path, Path] = {}
    problems: list[str] = []
    for job in jobs:
        for path in sorted(job.candidates):
            if path.resolve() in images:
                problems.append(f"{path} would replace a source image")
            other = owners.setdefault(path, job.image)
            if other != job.image:
                problems.append(f"{other} and {job.image} would both become {path}")
    if problems:
        raise UsageError(
            f"output names collide: {_shorten(problems)}; name another --out, or predict the "
            "images into different folders"
        )


def _shorten(items: Iterable[str]) -> str:
    shown = list(items)
    more = f" and {len(shown) - _NUM_SHOWN} more" if len(shown) > _NUM_SHOWN else ""
    return ", ".join(shown[:_NUM_SHOWN]) + more
