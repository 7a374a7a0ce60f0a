"""All checks, in the order in which their findings are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from delineate.data.doctor.annotators import check_annotators
from delineate.data.doctor.class_checks import (
    check_class_counts,
    check_one_class,
    check_void,
)
from delineate.data.doctor.code_checks import check_off_by_one, check_polarity
from delineate.data.doctor.duplicates import check_exact_duplicates, check_near_duplicates
from delineate.data.doctor.file_checks import check_orientations, check_readable, check_sizes
from delineate.data.doctor.findings import Finding
from delineate.data.doctor.footprints import check_footprints
from delineate.data.doctor.group_checks import check_groups
from delineate.data.doctor.image_checks import check_channels, check_values
from delineate.data.doctor.mask_checks import check_forms, check_legend_files, check_palettes
from delineate.data.doctor.outline_checks import check_shifted_masks, check_specks
from delineate.data.doctor.records import Examination

Check = Callable[[Examination], Iterator[Finding]]


def check_listing(examination: Examination) -> Iterator[Finding]:
    """Tell what is wrong with names, folders, rows and groups."""
    yield from examination.listing.findings


def check_meaning(examination: Examination) -> Iterator[Finding]:
    """Tell why the masks mean nothing yet."""
    yield from examination.meaning


MASK_CHECKS: tuple[Check, ...] = (check_readable, check_sizes, check_meaning)
"""What has to hold before any mask is decoded."""

CHEAP_CHECKS: tuple[Check, ...] = (
    check_listing,
    *MASK_CHECKS,
    check_off_by_one,
    check_exact_duplicates,
)
"""What a training checks before it starts: no image is decoded for these."""

CHECKS: tuple[Check, ...] = (
    check_listing,
    check_readable,
    check_sizes,
    check_orientations,
    check_channels,
    check_values,
    check_meaning,
    check_forms,
    check_palettes,
    check_legend_files,
    check_annotators,
    check_off_by_one,
    check_polarity,
    check_one_class,
    check_class_counts,
    check_void,
    check_shifted_masks,
    check_specks,
    check_exact_duplicates,
    check_near_duplicates,
    check_groups,
    check_footprints,
)
"""Everything that the doctor looks for."""


def run_checks(examination: Examination, checks: tuple[Check, ...] = CHECKS) -> list[Finding]:
    """Return the findings of checks, errors first, else in the order of the table."""
    findings = [finding for check in checks for finding in check(examination)]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def describe_check(check: Check) -> str:
    """Return the first sentence of a check's docstring."""
    return (check.__doc__ or "").strip().splitlines()[0]
