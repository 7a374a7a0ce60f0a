"""Write docs/metrics.schema.json, the form of metrics.json, from its pydantic models.

python docs/write_schema.py          writes the file
python docs/write_schema.py --check  exits with 1 where the file is not up to date
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from delineate.evaluation.document import metrics_schema

FILE = Path(__file__).with_name("metrics.schema.json")


def main() -> int:
    """Write or check the file; return the exit code."""
    text = json.dumps(metrics_schema(), indent=1, sort_keys=True) + "\n"
    if "--check" not in sys.argv[1:]:
        FILE.write_text(text, encoding="utf-8")
        return 0
    if FILE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{FILE.name} is not up to date; run 'make docs'\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
