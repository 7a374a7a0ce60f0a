import pytest

from delineate.config import build_settings
from delineate.recipes.planner import RULES, Facts, measure_facts, plan
from delineate.task import Task

TASK = Task("multiclass", ("a", "b", "c"))


EVEN_SIDES = ((5, 3, 2),) * 4
UPRIGHT_SIDES = ((9, 1, 0), (1, 4, 5), (5, 3, 2), (5, 2, 3))


def make_facts(sizes=((512, 600),), counts=(500, 300, 200), sides=EVEN_SIDES):
    return measure_facts(
        TASK, in_channels=3, sizes=list(sizes), class_counts=list(counts), side_counts=sides
    )


def test_scenes_with_an_up_are_not_turned():
    facts = make_facts(sides=UPRIGHT_SIDES)
    assert facts.top_bottom_difference == pytest.approx(0.8)
    assert facts.left_right_difference == pytest.approx(0.1)
    spatial = {d.name: d.settings for d in plan(facts)}["upright scenes"]["augmentation"]["spatial"]
    assert spatial == {"flip_vertical": 0.0, "quarter_turns": False}


def test_scenes_that_differ_to_all_sides_have_no_up():
    facts = make_facts(sides=((9, 1, 0), (1, 4, 5), (9, 1, 0), (1, 4, 5)))
    assert "upright scenes" not in {decision.name for decision in plan(facts)}


def test_facts_are_medians_and_shares():
    facts = make_facts(sizes=[(100, 40), (300, 60), (200, 50)])
    assert (facts.median_height, facts.median_width) == (200, 50)
    assert facts.class_shares == (0.5, 0.3, 0.2)
    assert facts.imbalance == pytest.approx(2.5)
    assert facts.num_images == 3


@pytest.mark.parametrize(
    ("size", "side"), [((64, 64), 64), ((100, 200), 96), ((10, 10), 32), ((999, 960), 256)]
)
def test_patches_fit_into_the_images(size, side):
    assert make_facts(sizes=[size]).patch_side == side


@pytest.mark.parametrize("sizes", [[(64, 64)], [(999, 960)], [(1, 1)]])
@pytest.mark.parametrize("counts", [(1, 1, 1), (100000, 10, 0), (0, 0, 0)])
def test_every_plan_is_valid_and_gives_reasons(sizes, counts):
    facts = make_facts(sizes, counts)
    for decision in plan(facts):
        build_settings(decision.settings)
        assert "{" not in decision.reason
        assert decision.reason


def test_each_rule_applies_somewhere_and_not_everywhere():
    cases = [
        make_facts(sizes=[size], counts=counts, sides=sides)
        for size in ((64, 64), (999, 960))
        for counts in ((1, 1, 1), (100000, 10, 0))
        for sides in (EVEN_SIDES, UPRIGHT_SIDES)
    ]
    for rule in RULES:
        assert {rule.applies(facts) for facts in cases} == {True, False}, rule.name


def test_facts_without_pixels_have_no_imbalance():
    assert Facts("binary", 1, 3, 0, 1, 1, ()).imbalance == 1.0
