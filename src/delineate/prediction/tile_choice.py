"""Choose how a raster is tiled: which tiling the network allows, which size is fastest here."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from delineate.tiling import Tiling, least_exact_tile

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from delineate.prediction.predictor import Predictor

CANDIDATES = (256, 384, 512, 768, 1024)
"""Sides of tiles that are tried; larger ones take more memory and were slower wherever tried."""

MAX_SECONDS = 20.0
"""Time after which no further size is tried."""


@dataclass(frozen=True)
class TileChoice:
    """How a raster is tiled, and why."""

    tiling: Tiling
    tile_size: tuple[int, int]
    batch_size: int
    reason: str
    """Why this tiling, as a clause: `the network's halo is 107 pixels`."""

    def apply(self, predictor: Predictor) -> Predictor:
        """Return the predictor that tiles so."""
        return replace(
            predictor,
            tiling=self.tiling,
            tile_size=self.tile_size,
            batch_size=self.batch_size,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description; `TileChoice.from_dict` is its inverse."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> TileChoice:
        """Build a choice from what `as_dict` returned."""
        height, width = document["tile_size"]
        return cls(**{**document, "tile_size": (height, width)})


def network_halo(network: torch.nn.Module) -> int | None:
    """Return how far a network sees, in pixels; None if it is not local or does not say."""
    halo = getattr(network, "halo", None)
    return int(halo) if halo is not None and getattr(network, "is_local", False) else None


def wanted_tiling(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return ``auto``, ``blended`` or ``exact``, as the user says or else the model.

    Who gives an overlap or a blend and no tiling means blended tiles: exact ones have neither.
    """
    if "tiling" not in given and ("overlap" in given or "blend" in given):
        return "blended"
    return str(given.get("tiling", stored.get("tiling", "auto")))


def choose_tiling(wanted: str, tile_size: tuple[int, int], halo: int | None, stride: int) -> Tiling:
    """Return the wanted tiling; ``auto`` is exact where network and tiles allow it."""
    if wanted == "auto":
        is_exact = halo is not None and min(tile_size) >= least_exact_tile(halo, stride)
        return "exact" if is_exact else "blended"
    return cast("Tiling", wanted)


def choose_tiles(predictor: Predictor, wanted: str, given: Collection[str]) -> TileChoice:
    """Return how to tile a raster, measuring the network's speed where the size is free.

    Exact tiling gives the same whatever the size of its tiles, so theirs is the one that computes
    the most pixels a second here. Blended tiles keep the size that the model was judged with.

    Args:
        predictor: As the model and the user say.
        wanted: ``auto``, ``blended`` or ``exact``.
        given: Names of the settings that the user gave, which stay as they are.
    """
    halo = predictor.halo
    batch_size = predictor.batch_size
    fixed = predictor.tile_size
    if wanted == "auto" and halo is None:
        reason = "the network normalises over whole tiles, so that no tiling of it can be exact"
        return TileChoice("blended", fixed, batch_size, reason)
    if wanted == "blended" or halo is None or "tile_size" in given:
        tiling = choose_tiling(wanted, fixed, halo, predictor.stride)
        reason = "as told"
        if wanted == "auto":
            reason = f"the network's halo is {halo} pixels, a tile {min(fixed)}"
        return TileChoice(tiling, fixed, batch_size, reason)
    least = least_exact_tile(halo, predictor.stride)
    sides = [side for side in CANDIDATES if side >= least]
    if not sides and wanted == "auto":
        reason = f"the network's halo of {halo} pixels would take tiles of {least}"
        return TileChoice("blended", fixed, batch_size, reason)
    side = -(-least // predictor.stride) * predictor.stride
    if len(sides) > 1:
        side = _fastest(predictor, sides)
    elif sides:
        side = sides[0]
    reason = f"the network is local, its halo {halo} pixels"
    return TileChoice("exact", (side, side), batch_size, reason)


def time_tile(predictor: Predictor, *, repeats: int = 2) -> float:
    """Return the seconds that a tile takes, without reading and blending: the least of a few."""
    shape = (predictor.batch_size, predictor.preprocessing.in_channels, *predictor.tile_size)
    tiles = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    seconds = []
    for _ in range(1 + repeats):
        start = time.perf_counter()
        predictor.tile_probs(tiles)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / predictor.batch_size


def _fastest(predictor: Predictor, sides: list[int]) -> int:
    halo = predictor.halo or 0
    best, least = sides[0], float("inf")
    start = time.monotonic()
    for side in sides:
        tried = replace(predictor, tile_size=(side, side))
        kept = (side - 2 * halo) ** 2
        cost = time_tile(tried, repeats=1) / kept
        if cost < least:
            best, least = side, cost
        if time.monotonic() - start > MAX_SECONDS:
            break
    return best
