"""What to try where a model is weak."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Advice:
    """What addresses a weakness."""

    text: str
    rules: tuple[str, ...] = ()
    """Names of the planner's rules (`delineate.recipes.rules.RULES`) that decide on it."""
    flags: tuple[str, ...] = ()
    """What to write after `delineate train`, to decide otherwise."""

    def describe(self) -> str:
        """Return the text, the rules of the plan that decide, and the flags, as sentences."""
        text = self.text
        if self.rules:
            names = " and ".join(f"“{name}”" for name in self.rules)
            plural = "s" if len(self.rules) > 1 else ""
            text += f" The plan decides this by its rule{plural} {names} (plan.md)."
        if self.flags:
            text += f" To try: {', '.join(self.flags)}."
        return text


ADVICE: dict[tuple[str, str], Advice] = {
    ("size", "low"): Advice(
        "Small objects cost detail: keep every pixel at the network's entrance and draw more "
        "patches around objects. A loss that fears misses finds more of them.",
        ("folded stem", "patches with foreground", "costly misses"),
        ("--model.stem-stride 1", "--training.foreground-odds 0.6", "--loss.name focal_tversky"),
    ),
    ("size", "high"): Advice(
        "Large objects need a wide view: larger patches, or a deeper network.",
        ("patch size",),
        ("--training.patch-size 384 384", "--model.depth 5"),
    ),
    ("width", "low"): Advice(
        "Thin structures vanish when pixels are folded or pooled early; a loss along centre lines "
        "counts them by length instead of by area.",
        ("folded stem",),
        ("--model.stem-stride 1", "--loss.name cl_dice"),
    ),
    ("width", "high"): Advice(
        "Thick structures break up inside: larger patches show them whole, and filling holes "
        "mends what is left.",
        ("patch size",),
        ("--training.patch-size 384 384", "--prediction.postprocessing.min-hole-area 64"),
    ),
    ("contrast", "low"): Advice(
        "Faint objects: stronger changes of contrast in training, and a loss that dwells on hard "
        "pixels.",
        ("rare positives",),
        ("--augmentation.intensity.contrast 0.4", "--loss.name focal_dice"),
    ),
    ("brightness", "low"): Advice(
        "Dark images: stronger changes of brightness in training, or more such images in it.",
        ("normalisation of each image",),
        ("--augmentation.intensity.brightness 0.4", "--augmentation.intensity.gamma 0.4"),
    ),
    ("brightness", "high"): Advice(
        "Bright images: stronger changes of brightness in training, or more such images in it.",
        ("normalisation of each image",),
        ("--augmentation.intensity.brightness 0.4", "--augmentation.intensity.gamma 0.4"),
    ),
    ("edge", "edge"): Advice(
        "At the rim of the image half of the surroundings is missing; larger overlap does not "
        "bring them back, smaller patches train for it.",
        ("patch size",),
        ("--training.patch-size 128 128",),
    ),
    ("height", "*"): Advice(
        "Places in the image differ: scenes that have an up should keep it in training.",
        ("upright scenes",),
        ("--augmentation.spatial.flip-vertical 0", "--augmentation.spatial.quarter-turns false"),
    ),
    ("width of image", "*"): Advice(
        "Sides of the image differ, which flips in training should even out: look at shading and "
        "at the labels.",
        (),
        ("--augmentation.spatial.flip-horizontal 0.5",),
    ),
    ("group", "*"): Advice(
        "This group is unlike the others: see whether its labels follow the same rules, and take "
        "images like it into training.",
    ),
    ("class", "*"): Advice(
        "Behind the other classes. If it is rare, balanced weights and more patches drawn around "
        "classes help it.",
        ("class weights",),
        ("--training.class-weights balanced", "--training.foreground-odds 0.6"),
    ),
    ("confusion", "*"): Advice(
        "Two classes are taken for each other: see in the pictures whether the labels tell them "
        "apart, then weigh the rarer one more.",
        ("class weights",),
        ("--training.class-weights balanced",),
    ),
}
"""(property, label of the slice or ``low``, ``high``, ``*`` for any) -> advice."""


def find_advice(property_name: str, end: str) -> Advice | None:
    """Return what addresses a weak slice; None where nothing general does."""
    return ADVICE.get((property_name, end)) or ADVICE.get((property_name, "*"))
