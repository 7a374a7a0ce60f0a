from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from delineate.evaluation.document import MetricsDocument, metrics_schema
from delineate.evaluation.result import Evaluation
from delineate.task import TaskKind

PUBLISHED = Path(__file__).parents[2] / "docs" / "metrics.schema.json"


@pytest.fixture(scope="module")
def schema() -> Any:
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("is_empty", [False, True])
def test_what_is_written_has_the_published_form(
    kind: TaskKind, is_empty: bool, schema: Any, evaluation_of: Callable[..., Evaluation]
) -> None:
    metrics = evaluation_of(kind, 4, is_empty=is_empty).metrics
    written = json.loads(json.dumps(metrics, allow_nan=False))
    jsonschema.validate(written, schema, cls=jsonschema.Draft202012Validator)
    MetricsDocument.model_validate(written)
    first = written["images"][0]
    assert set(first["quality"]) == {"expected_dice", "unfamiliarity", "alarm", "in_training"}
    assert written["averages"]["without_background"]["macro"]["dice"] == written["pooled"]["dice"]
    if not is_empty:
        assert written["expectation"]["num_images"] == 4
        assert written["intervals"]["pooled"]["dice"]["estimate"] == pytest.approx(
            written["pooled"]["dice"], abs=1e-12
        )
        assert written["slices"]
    del written["alerts"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(written, schema, cls=jsonschema.Draft202012Validator)


def test_the_schema_is_one_and_is_published(schema: Any) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema == json.loads(json.dumps(metrics_schema()))
    assert schema["properties"]["pooled"]
