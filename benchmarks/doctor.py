"""Look at real data sets with the doctor: what it finds in each, and how fast it reads them.

Run on a quiet machine: ``DELINEATE_DATA=FOLDER python benchmarks/doctor.py [SET ...]``. Prints a
table in Markdown: a row per finding, with the number of files it names and how many of its cases
are false alarms. These were counted once: by looking at the pictures of the evidence, of specks at
eight cases a set, and for ids, sizes and names by the facts of the set. They are written down here;
`?` marks a finding that nobody has looked at.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from pathlib import Path
from typing import Any

from delineate.config import build_settings
from delineate.data.doctor.diagnosis import diagnose

SETS: dict[str, dict[str, Any]] = {
    "amazon_forest": {},
    "camvid_mini": {},
    "chase_db1": {},
    "dsb2018_mini": {},
    "dubai_aerial": {},
    "isbi_em": {},
    "magnetic_tile": {},
    "special": {},
}
"""Folder of each set, and the settings that are given with it."""

FALSE_ALARMS: dict[tuple[str, str], str] = {
    ("amazon_forest", "missing-mask"): "0",
    ("amazon_forest", "size-mismatch"): "0",
    ("amazon_forest", "duplicate-across-splits"): "0",
    ("amazon_forest", "empty-mask"): "0; bare land indeed",
    ("amazon_forest", "specks"): "0 of 8 looked at",
    ("amazon_forest", "tiny-objects"): "0",
    ("camvid_mini", "void-like-class"): "0",
    ("camvid_mini", "specks"): "7 of 8 looked at are twigs against the sky",
    ("camvid_mini", "tiny-objects"): "0",
    ("camvid_mini", "near-duplicate"): "0 of 4 sets",
    ("camvid_mini", "group-across-splits"): "0; the official split has it so",
    ("chase_db1", "ambiguous-mask"): "0",
    ("chase_db1", "several-annotators"): "0",
    ("chase_db1", "group-across-splits"): "0; two eyes of a child",
    ("dsb2018_mini", "specks"): "5 of 7 are gaps between touching nuclei",
    ("dubai_aerial", "no-legend"): "0",
    ("dubai_aerial", "palette-order"): "0",
    ("dubai_aerial", "legend-file"): "0",
    ("dubai_aerial", "single-class-mask"): "0; a road was forgotten",
    ("dubai_aerial", "specks"): "0 of 8 looked at",
    ("dubai_aerial", "tiny-objects"): "0",
    ("dubai_aerial", "group-across-splits"): "0",
    ("isbi_em", "foreground-is-most"): "0",
    ("isbi_em", "series-across-splits"): "0",
    ("magnetic_tile", "empty-mask"): "0 of the 4 elsewhere; MT_Free is meant",
    ("magnetic_tile", "specks"): "0 of 8 looked at",
    ("magnetic_tile", "near-duplicate-across-splits"): "0 of 62 sets",
    ("magnetic_tile", "near-duplicate"): "0 of 18 sets",
    ("magnetic_tile", "smooth-edges"): "0",
    ("special", "missing-mask"): "0",
    ("special", "unreadable-file"): "0",
    ("special", "mixed-types"): "0",
    ("special", "smooth-edges"): "0",
    ("special", "exif-oriented"): "0",
    ("special", "exif-invalid"): "0",
    ("special", "near-duplicate-across-splits"): "0 of 2 sets",
    ("special", "near-duplicate"): "0 of 1 set",
}
"""Set and code of a finding: how many of its cases are none, and a word about it."""


def cpu_seconds() -> float:
    """Return what this process and its ended children have computed so far."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    names = parser.parse_args().sets
    root = Path(os.environ["DELINEATE_DATA"])
    print("| set | finding | files | what | false |\n|---|---|---:|---|---|")
    speeds = []
    for name in names:
        start, cpu_start = time.perf_counter(), cpu_seconds()
        diagnosis = diagnose(root / name, build_settings({"data": SETS[name]}))
        seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu_start
        num_images = len(diagnosis.examination.pairs)
        num_bytes = sum(
            record.num_bytes
            for pair in diagnosis.examination.pairs
            for record in (pair.image, *pair.masks)
        )
        speeds.append(
            f"| {name} | {num_images} | {diagnosis.num_files} | {num_bytes / 1e6:.0f} | "
            f"{seconds:.1f} | {cpu:.1f} | {num_images / seconds:.1f} |"
        )
        for finding in diagnosis.findings:
            mark = "**error**" if finding.severity == "error" else "warning"
            what = " ".join(finding.what.replace("|", "\\|").split())
            what = what if len(what) <= 150 else what[:147] + "..."
            verdict = FALSE_ALARMS.get((name, finding.code), "?")
            print(
                f"| {name} | {mark} `{finding.code}` | {len(finding.files)} | {what} | {verdict} |"
            )
    print("\n| set | images | files | MB | seconds | CPU seconds | images/s |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    print("\n".join(speeds))


if __name__ == "__main__":
    main()
