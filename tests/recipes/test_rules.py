"""Each row of the table of rules, with data that it is for and data that it is not for."""

from dataclasses import replace

import pytest

from delineate.config import build_settings, merge_settings
from delineate.data.fingerprint.fingerprint import (
    ChannelStatistics,
    ClassStatistics,
    Fingerprint,
    Histogram,
)
from delineate.recipes.facts import Facts, Wishes
from delineate.recipes.planner import decide, list_unmet
from delineate.recipes.rules import RULES

FLAT = Histogram((0.0, 256.0), (1,))
CHANNEL = ChannelStatistics(
    mean=100.0,
    std=40.0,
    percentiles={"50": 100.0},
    foreground_mean=150.0,
    foreground_std=20.0,
    foreground_percentiles={"50": 150.0},
    background_mean=90.0,
    background_std=30.0,
    background_percentiles={"50": 90.0},
    histogram=FLAT,
    foreground_histogram=FLAT,
    between_images=0.2,
    clipped_mean=100.0,
    clipped_std=39.0,
)
CELL = ClassStatistics(
    pixel_share=0.2,
    image_share=1.0,
    num_objects=400,
    objects_per_image={"50": 10.0},
    area={"50": 300.0},
    area_histogram=FLAT,
    width={"50": 13.0},
    extent={"50": 20.0},
    elongation=2.0,
    thinness=0.05,
    typical_width=14.0,
    boundary_share=0.1,
    touching_share=0.1,
    contrast=2.0,
)
ORDINARY = Fingerprint(
    digest="0" * 64,
    task_kind="binary",
    class_names=("cell",),
    in_channels=1,
    dtype="uint8",
    num_images=200,
    num_groups=200,
    heights={"50": 512.0},
    widths={"50": 512.0},
    spacing={},
    num_pixels=200 * 512 * 512,
    class_shares={"background": 0.8, "cell": 0.2},
    channels=(CHANNEL,),
    classes={"cell": CELL},
    empty_share=0.0,
    information=0.5,
    information_normalised=0.45,
    texture=0.1,
    top_bottom_difference=0.02,
    left_right_difference=0.02,
)
"""A set that no rule has to do anything about, but fold its stem."""


NO_WISHES = Wishes()


def facts_of(wishes=NO_WISHES, **changes):
    return Facts(replace(ORDINARY, **changes), wishes)


def rarer(share):
    return {
        "class_shares": {"background": 1 - share, "cell": share},
        "classes": {"cell": replace(CELL, pixel_share=share)},
    }


FOUR = {
    "task_kind": "multiclass",
    "class_names": ("sky", "road", "car", "pole"),
    "class_shares": {"sky": 0.5, "road": 0.4, "car": 0.09, "pole": 0.01},
}
LINES = replace(CELL, typical_width=5.0, elongation=900.0)
NUCLEI = replace(CELL, area={"5": 40.0, "25": 120.0, "50": 300.0})
LARGE = {"heights": {"50": 4000.0}, "widths": {"50": 4000.0}}


def extending(side):
    return {"classes": {"cell": replace(CELL, extent={"50": side / 2, "75": side})}}


CASES = {
    "patch size": (facts_of(heights={"50": 200.0}), facts_of(heights={"50": 256.0})),
    "folded stem": (facts_of(), facts_of(widths={"50": 100.0})),
    "normalisation of small batches": (
        facts_of(Wishes(batch_size=2)),
        facts_of(Wishes(batch_size=3)),
    ),
    "normalisation of each image": (
        facts_of(channels=(CHANNEL, replace(CHANNEL, between_images=0.9))),
        facts_of(channels=(replace(CHANNEL, between_images=0.25),)),
    ),
    # brightness is what tells water from sand
    "normalisation of each image where brightness tells": (
        facts_of(channels=(replace(CHANNEL, between_images=0.9),)),
        facts_of(channels=(replace(CHANNEL, between_images=0.9),), information_normalised=0.2),
    ),
    "upright scenes": (
        facts_of(top_bottom_difference=0.6, left_right_difference=0.1),
        facts_of(top_bottom_difference=0.6, left_right_difference=0.5),
    ),
    "class weights": (facts_of(**FOUR), facts_of(**rarer(0.01))),
    "class weights where labels overlap": (
        facts_of(**{**FOUR, "task_kind": "multilabel"}),
        facts_of(**{**FOUR, "class_shares": {"sky": 0.5, "road": 0.1}}),
    ),
    "rare positives": (facts_of(**rarer(0.009)), facts_of(**rarer(0.03))),
    "patches with foreground": (facts_of(empty_share=0.5), facts_of(empty_share=0.1)),
    "shallower network": (facts_of(heights={"50": 60.0}), facts_of(heights={"50": 64.0})),
    "wider network": (
        facts_of(Wishes(recipe="medical", device="cuda")),
        facts_of(Wishes(recipe="medical", device="cpu")),
    ),
    "deep supervision": (facts_of(Wishes(depth=5)), facts_of(Wishes(depth=4))),
    "clipped values": (
        facts_of(dtype="int16", channels=(CHANNEL, replace(CHANNEL, clipped_std=25.0))),
        facts_of(dtype="int16"),
    ),
    # eight bits hold no outlier that matters
    "clipped values where there is depth": (
        facts_of(dtype="float32", channels=(replace(CHANNEL, clipped_std=25.0),)),
        facts_of(dtype="uint8", channels=(replace(CHANNEL, clipped_std=25.0),)),
    ),
    "whole images": (facts_of(widths={"50": 640.0}), facts_of(widths={"50": 900.0, "95": 1100.0})),
    "overlap of tiles": (
        facts_of(**LARGE, **extending(200.0)),
        # no overlap holds these
        facts_of(**LARGE, **extending(300.0)),
    ),
    "overlap of tiles where there are tiles": (
        facts_of(**LARGE, **extending(129.0)),
        facts_of(**extending(200.0)),
    ),
    "least areas": (
        facts_of(classes={"cell": NUCLEI}),
        facts_of(classes={"cell": replace(NUCLEI, num_objects=10)}),
    ),
    "least areas where objects are larger than specks": (
        facts_of(classes={"cell": NUCLEI}),
        facts_of(classes={"cell": replace(NUCLEI, area={"5": 2.0, "25": 120.0})}),
    ),
    "thin lines": (facts_of(classes={"cell": LINES}), facts_of(**FOUR, classes={"pole": LINES})),
    "thin lines where the recipe does not say so": (
        facts_of(classes={"cell": LINES}),
        facts_of(Wishes(recipe="thin"), classes={"cell": LINES}),
    ),
    "gaps in lines": (facts_of(classes={"cell": LINES}), facts_of()),
    "costly misses": (facts_of(Wishes(misses_cost_more=True)), facts_of()),
}


def names(facts):
    return [decision.name for decision in decide(facts, RULES)]


def test_every_rule_has_its_case():
    assert {name.split(" where ")[0] for name in CASES} == {rule.name for rule in RULES}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_applies_where_it_should_and_nowhere_else(name):
    meant, other = CASES[name]
    name = name.split(" where ")[0]
    assert name in names(meant)
    assert name not in names(other)


@pytest.mark.parametrize("name", CASES)
def test_what_a_rule_sets_is_valid_and_its_reason_holds_a_number(name):
    decisions = decide(CASES[name][0], RULES)
    for decision in decisions:
        assert "{" not in decision.reason
        assert any(character.isdigit() for character in decision.reason)
    build_settings(merge_settings(*(decision.settings for decision in decisions)))


@pytest.mark.parametrize("name", CASES)
def test_a_rule_that_does_not_apply_says_what_it_found_and_when_it_would(name):
    _, other = CASES[name]
    unmet = list_unmet(other, RULES)
    assert {one.name for one in unmet}.isdisjoint(names(other))
    assert len(unmet) + len(names(other)) == len(RULES)
    row = next(one for one in unmet if one.name == name.split(" where ")[0])
    assert "{" not in row.finding + row.bound
    assert row.bound


def test_a_set_without_foreground_can_be_explained():
    empty = replace(CELL, num_objects=0, area={}, width={}, extent={})
    assert len(list_unmet(facts_of(classes={"cell": empty}), RULES)) > 5


def setting(facts, name):
    return next(one.settings for one in decide(facts, RULES) if one.name == name)


def test_areas_and_radii_come_from_the_objects():
    tuning = setting(facts_of(classes={"cell": NUCLEI}), "least areas")["evaluation"]["tuning"]
    assert tuning["min_object_areas"] == [0, 10, 23, 52, 120]
    tuning = setting(facts_of(classes={"cell": LINES}), "gaps in lines")["evaluation"]["tuning"]
    # radius 3 closes a gap of 5 pixels
    assert tuning == {"closing_radii": [0, 1, 2, 3], "opening_radii": [0, 1]}
    thinner = facts_of(classes={"cell": replace(LINES, typical_width=2.0)})
    tuning = setting(thinner, "gaps in lines")["evaluation"]["tuning"]
    assert tuning == {"closing_radii": [0, 1], "opening_radii": [0]}


def test_tiles_hold_whole_images_and_overlaps_whole_objects():
    images = facts_of(heights={"50": 960.0, "95": 960.0}, widths={"50": 999.0, "95": 999.0})
    assert setting(images, "whole images")["prediction"]["tile_size"] == [1024, 1024]
    objects = facts_of(**LARGE, **extending(200.0))
    assert setting(objects, "overlap of tiles")["prediction"]["overlap"] == 0.4


def test_an_ordinary_set_keeps_the_defaults_but_for_its_stem():
    assert names(facts_of()) == ["folded stem"]


@pytest.mark.parametrize(
    ("size", "side"), [((64, 64), 64), ((100, 200), 96), ((10, 10), 32), ((999, 960), 256)]
)
def test_patches_fit_into_the_images(size, side):
    height, width = size
    assert facts_of(heights={"50": height}, widths={"50": width}).patch_side == side


def test_a_network_of_thin_lines_is_known_by_width_and_length():
    lines = replace(CELL, typical_width=4.0, elongation=900.0)
    thinnest = facts_of(classes={"cell": CELL, "road": lines}).thinnest
    assert thinnest is not None
    assert thinnest[0] == "road"
    assert facts_of().thinnest is None


def test_facts_without_pixels_have_no_imbalance():
    assert facts_of(class_shares={}).imbalance == 1.0
