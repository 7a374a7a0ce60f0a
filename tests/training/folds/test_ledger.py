"""folds.json: written, read, and refused where it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from delineate.data.inventory import Inventory, Sample
from delineate.errors import DataError
from delineate.training.folds.ledger import Ledger, digest_pool, load_ledger, pool_of
from delineate.training.run_folder import FOLDS, is_cross_validation

LEDGER = Ledger(
    data="/data",
    device="auto",
    num_folds=2,
    fold_of={"b": 1, "a": 2, "c": 1},
    digests={"a": "1", "b": "2", "c": "3"},
    settings={"training": {"epochs": 3}},
    seconds_per_fold=None,
    is_distilled=True,
)


def test_what_was_settled_is_read_again(tmp_path):
    assert not is_cross_validation(tmp_path)
    LEDGER.save(tmp_path)
    assert is_cross_validation(tmp_path)
    assert load_ledger(tmp_path) == LEDGER
    assert LEDGER.held_out(1) == ["b", "c"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        json.dumps({"format_version": 2}),
        json.dumps({"format_version": 1, "surprise": 3}),
        json.dumps({"format_version": 1, "num_folds": 2}),
    ],
)
def test_a_damaged_ledger_is_named(tmp_path, text):
    (tmp_path / FOLDS).write_text(text)
    with pytest.raises(DataError, match=r"folds\.json cannot be read .*start the training anew"):
        load_ledger(tmp_path)


def test_the_pool_is_all_but_the_test_split_and_every_byte_of_it_counts(tmp_path):
    paths = [tmp_path / name for name in ("a.png", "a_mask.png", "b.png")]
    for path in paths:
        path.write_bytes(path.name.encode())
    samples = [
        Sample(paths[0], (paths[1],), "train", "g", "a"),
        Sample(paths[2], (), "val", "g", "b"),
        Sample(Path("missing"), (), "test", "g", "c"),
    ]
    pool = pool_of(Inventory(tmp_path, tuple(samples)))
    before = digest_pool(pool)
    assert list(before) == ["a", "b"]
    paths[1].write_bytes(b"a_mask.pnG")
    now = digest_pool(pool)
    assert now["a"] != before["a"]
    assert now["b"] == before["b"]
