"""What `predict` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delineate.cli.info_display import describe_pixel_size
from delineate.cli.words import NUM_NAMED, count_of
from delineate.files import format_bytes
from delineate.progress import format_duration

if TYPE_CHECKING:
    from pathlib import Path

    from delineate.prediction.estimate import PredictionEstimate
    from delineate.prediction.predict import PredictionSummary


def print_prediction(summary: PredictionSummary, out: Path) -> None:
    """Print how much was predicted and where it is."""
    print(
        f"{count_of(summary.num_images, 'image')}, {summary.num_pixels / 1e6:.1f} million pixels, "
        f"{count_of(len(summary.files), 'file')} in {summary.seconds:.1f} s: {out}"
    )
    for scene in summary.scenes:
        choice, seams = scene.choice, scene.seams
        side = " x ".join(str(side) for side in choice.tile_size)
        seam = "no tiles overlap"
        if seams.mean is not None:
            seam = f"seam error {seams.mean:.2g} on average, {seams.largest:.2g} at most"
        print(
            f"{scene.image}: {count_of(scene.num_tiles, f'{choice.tiling} tile')} of {side} pixels "
            f"({choice.reason}); {seam}"
        )
        if scene.resampling is not None:
            print(f"  {scene.resampling.describe()}")
    if summary.num_unsized and summary.trained_at is not None:
        number = summary.num_unsized
        print(
            f"{count_of(number, 'image')} {'does' if number == 1 else 'do'} not tell the size of "
            f"{'its' if number == 1 else 'their'} pixels; taken as the "
            f"{describe_pixel_size(summary.trained_at)} that the model was trained at"
        )
    _print_qualities(summary)


def _print_qualities(summary: PredictionSummary) -> None:
    """Print how good the masks probably are, and warn of images unlike the training images."""
    expected = [
        (quality.expected_dice, path)
        for path, quality in summary.qualities
        if quality.expected_dice is not None
    ]
    if expected:
        lowest, path = min(expected)
        mean = sum(dice for dice, _ in expected) / len(expected)
        text = f"expected Dice {mean:.2f}"
        if len(expected) > 1:
            text += f" on average, {lowest:.2f} at worst ({path})"
        print(f"{text}; an estimate without the truth")
    strange = [
        (quality.unfamiliarity, path, quality.alarm)
        for path, quality in summary.qualities
        if quality.unfamiliarity is not None and quality.alarm is not None
    ]
    if not strange:
        return
    print(
        f"warning: {len(strange)} of {len(summary.qualities)} images look unlike the training "
        "images; look at their masks before using them"
    )
    for _, path, alarm in sorted(strange, reverse=True)[:NUM_NAMED]:
        print(f"  {path}: {alarm}")
    if len(strange) > NUM_NAMED:
        print(f"  and {len(strange) - NUM_NAMED} more")


def print_estimate(estimate: PredictionEstimate) -> None:
    """Print what a prediction would take."""
    memory = f"{format_bytes(estimate.memory_bytes)} for the largest image"
    if estimate.base_bytes:
        memory += f", above {format_bytes(estimate.base_bytes)} of program, model and a batch"
    lines = {
        "images": f"{estimate.num_images}, {estimate.num_streamed} of them computed by bands",
        "pixels": f"{estimate.num_pixels / 1e6:,.1f} million",
        "tiles": f"{estimate.num_tiles:,}",
        "time": f"about {format_duration(estimate.seconds)}, by the measured time of a tile",
        "memory": memory,
        "disk": f"about {format_bytes(estimate.disk_bytes)}, "
        f"{format_bytes(estimate.free_bytes)} are free",
    }
    for path, choice in estimate.choices.items():
        side = " x ".join(str(side) for side in choice.tile_size)
        lines[path.name] = f"{choice.tiling} tiles of {side} pixels: {choice.reason}"
        if path in estimate.resamplings:
            lines[path.name] += f"; {estimate.resamplings[path].describe()}"
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")
