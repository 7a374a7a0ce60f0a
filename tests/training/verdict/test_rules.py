"""Every row of the table: evidence that shows it, and evidence just short of it."""

from dataclasses import replace

import numpy as np
import pytest

from delineate.cli.setting_flags import split_setting_flags
from delineate.config import Settings, build_settings, dump_settings, flatten_settings
from delineate.evaluation.advice import ADVICE
from delineate.recipes.rules import RULES
from delineate.training.history import EpochRecord
from delineate.training.verdict.evidence import ClassEvidence, Evidence
from delineate.training.verdict.judging import judge
from delineate.training.verdict.rules import SYMPTOMS

TIME = np.arange(20) / 20
SETTINGS = flatten_settings(dump_settings(Settings()))
GOOD_TRAIN = 0.2 + 0.5 * np.exp(-6 * TIME)
GOOD_VAL = 0.25 + 0.45 * np.exp(-6 * TIME)
GOOD_DICE = 0.85 - 0.4 * np.exp(-9 * TIME)


def make_class(name="cell", true=0.1, predicted=0.1, dice=0.8, precision=0.8, recall=0.8, **more):
    return ClassEvidence(name, true, predicted, dice, precision, recall, **more)


def make_evidence(train=GOOD_TRAIN, val=GOOD_VAL, dice=GOOD_DICE, settings=(), **facts):
    records = tuple(
        EpochRecord(epoch, 10.0 * epoch, float(t), float(v), float(d), 0.5, 1e-3)
        for epoch, (t, v, d) in enumerate(zip(train, val, dice, strict=True), start=1)
    )
    return Evidence(
        records=records,
        num_steps=facts.pop("num_steps", 1000),
        classes=facts.pop("classes", (make_class(),)),
        settings=SETTINGS | dict(settings),
        dice=facts.pop("final", float(dice[-1])),
        **facts,
    )


WEAK = 0.2 + 0.005 * TIME
CASES = {
    "loss not finite": ({"num_rollbacks": 2}, {"num_rollbacks": 0}, "2 times"),
    "too few steps": ({"num_steps": 60}, {"num_steps": 300}, "60 steps were made"),
    "learning rate too high": (
        {"train": GOOD_TRAIN + 0.8 * (np.abs(TIME - 0.4) < 0.12)},
        {"train": GOOD_TRAIN + 0.05 * (np.abs(TIME - 0.4) < 0.12)},
        "up to 0.002",
    ),
    "plateau": (
        {"train": 0.7 - 0.02 * TIME, "dice": WEAK},
        {"train": 0.7 - 0.2 * TIME, "dice": WEAK},
        "0.7 in the first epoch",
    ),
    "empty batches": (
        {
            "final": 0.3,
            "empty_share": 0.95,
            "settings": {"loss.name": "dice", "training.foreground_odds": 0.0},
        },
        {
            "final": 0.3,
            "empty_share": 0.95,
            "settings": {"loss.name": "dice", "training.foreground_odds": 0.5},
        },
        "81% of the batches",
    ),
    "paints everything": (
        {"classes": (make_class(true=0.2, predicted=0.98, dice=0.333, precision=0.2, recall=1),)},
        {"classes": (make_class(true=0.2, predicted=0.4, dice=0.6, precision=0.5, recall=0.7),)},
        "painting every pixel would give 0.333",
    ),
    "rare positives": (
        {
            "classes": (make_class(true=0.01, predicted=0.02, dice=0.2, training_share=0.008),),
            "settings": {"loss.name": "cross_entropy"},
        },
        {"classes": (make_class(true=0.01, predicted=0.02, dice=0.2, training_share=0.008),)},
        "cell is 0.80% of the training pixels, and the loss (cross_entropy)",
    ),
    "nothing found": (
        {"classes": (make_class(predicted=0.0, dice=0.0, precision=None, recall=0.0),)},
        {"classes": (make_class(predicted=0.09),)},
        "10.00% of the pixels are not",
    ),
    "class never predicted": (
        {
            "task_kind": "multiclass",
            "classes": (
                make_class("road"),
                make_class(
                    "pole", 0.01, 0.0, 0.0, precision=None, recall=0.0, training_share=0.004
                ),
            ),
        },
        {"task_kind": "multiclass", "classes": (make_class("road"), make_class("pole"))},
        "pole (0.40% of the training pixels)",
    ),
    "over-fitting": (
        {
            "train": 0.05 + 0.6 * np.exp(-4 * TIME),
            "val": GOOD_VAL + 0.6 * np.clip(TIME - 0.4, 0, 1),
        },
        {
            "train": 0.05 + 0.6 * np.exp(-4 * TIME),
            "val": GOOD_VAL + 0.02 * np.clip(TIME - 0.4, 0, 1),
        },
        "the best epoch was kept",
    ),
    "validation stands": (
        {"train": 0.05 + 0.6 * np.exp(-3 * TIME), "val": 0.4 + 0.3 * np.exp(-20 * TIME)},
        {"train": GOOD_TRAIN, "val": 0.4 + 0.3 * np.exp(-20 * TIME)},
        "since epoch 10",
    ),
    "score stands": (
        {"dice": WEAK},
        {"dice": WEAK + 0.4},
        "fell by 71%, but Dice has come to 0.20 only",
    ),
    "still rising": (
        {"dice": 0.4 + 0.3 * TIME},
        {"dice": GOOD_DICE},
        "10.5 points of Dice",
    ),
    "misses": (
        {"classes": (make_class(precision=0.9, recall=0.5, dice=0.64),)},
        {"classes": (make_class(precision=0.8, recall=0.7, dice=0.75),)},
        "cell has recall 0.50 and precision 0.90",
    ),
    "false alarms": (
        {"classes": (make_class(precision=0.5, recall=0.9, dice=0.64),)},
        {"classes": (make_class(precision=0.7, recall=0.8, dice=0.75),)},
        "cell has precision 0.50 and recall 0.90",
    ),
    "ragged borders": ({"border_ratio": 2.2}, {"border_ratio": 1.2}, "2.2 times as long"),
}


def test_every_row_has_its_case():
    assert [symptom.name for symptom in SYMPTOMS] == list(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_symptom_is_seen_where_it_is_and_nowhere_else(name):
    seen, unseen, words = CASES[name]
    findings = judge(make_evidence(**seen))
    assert [finding.name for finding in findings] == [name]
    assert words in findings[0].what
    assert name in findings[0].describe()
    assert name not in [finding.name for finding in judge(make_evidence(**unseen))]


def test_a_good_training_has_nothing_in_its_way():
    assert judge(make_evidence()) == ()


def test_an_undefined_score_is_no_symptom_of_its_own():
    undefined = make_evidence(final=float("nan"), classes=(), dice=np.full(20, np.nan))
    assert judge(undefined) == ()


def test_what_explains_hides_what_it_explains():
    weak = make_evidence(
        num_steps=3, classes=(make_class(predicted=0, recall=0, dice=0),), final=0.0, dice=WEAK
    )
    assert [finding.name for finding in judge(weak)] == ["too few steps"]
    names = [finding.name for finding in judge(replace(weak, num_steps=1000))]
    assert names == ["nothing found"]


def test_explanations_name_later_rows():
    names = [symptom.name for symptom in SYMPTOMS]
    for number, symptom in enumerate(SYMPTOMS):
        assert set(symptom.explains) <= set(names[number + 1 :]), symptom.name
        assert symptom.check


def test_nothing_is_advised_that_is_so_already():
    seen = CASES["misses"][0]
    (before,) = judge(make_evidence(**seen))
    assert "--loss.name focal_tversky" in before.advice.flags
    (after,) = judge(make_evidence(**seen, settings={"loss.name": "focal_tversky"}))
    assert after.advice.flags == ("--training.foreground-odds 0.6",)


@pytest.mark.parametrize(("odds", "is_advised"), [(0.33, True), (0.1, False), (0.0, False)])
def test_nothing_is_advised_that_goes_back(odds, is_advised):
    seen = CASES["false alarms"][0]
    (finding,) = judge(make_evidence(**seen, settings={"training.foreground_odds": odds}))
    assert ("--training.foreground-odds 0.1" in finding.advice.flags) == is_advised


@pytest.mark.parametrize(("rate", "advised"), [(1e-7, "0.001"), (2e-3, "0.006")])
def test_larger_steps_are_larger_than_those_that_were_made(rate, advised):
    settings = {"training.learning_rate": rate}
    (finding,) = judge(make_evidence(**CASES["plateau"][0], settings=settings))
    assert f"--training.learning-rate {advised}" in finding.advice.flags


def test_a_timed_training_is_told_how_long():
    seen = CASES["still rising"][0]
    (finding,) = judge(make_evidence(**seen, settings={"training.time": 90.0}))
    assert "--time 180s" in finding.advice.text
    (finding,) = judge(make_evidence(**seen))
    assert finding.advice.text.endswith("twice the length.")


def test_every_row_names_rules_of_the_planner_and_settings_that_exist():
    names = {rule.name for rule in RULES}
    sections = tuple(name for name in Settings.model_fields if name != "format_version")
    for name, (seen, _, _) in CASES.items():
        (finding,) = judge(make_evidence(**seen))
        assert set(finding.advice.rules) <= names, name
        assert finding.advice.flags or "--time" in finding.advice.text or name == "still rising"
        for flag in finding.advice.flags:
            rest, overrides = split_setting_flags(["train", *flag.split()], sections)
            assert rest == ["train"], flag
            build_settings(overrides)


def test_a_class_left_behind_gets_the_advice_that_reports_give():
    (finding,) = judge(make_evidence(**CASES["class never predicted"][0]))
    assert finding.advice.text == ADVICE["class", "*"].text
