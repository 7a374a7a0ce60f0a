"""The doctor's page: every finding with pictures of what it is about, in one offline file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from delineate.data.doctor.evidence import Exhibit, show_evidence
from delineate.data.doctor.findings import MAX_SENTENCE, Finding, shorten
from delineate.data.doctor.records import Examination
from delineate.files import write_text
from delineate.pages import (
    Card,
    Row,
    Section,
    Tile,
    card,
    details,
    paragraph,
    picture_rows,
    render_page,
    table,
    tiles,
    with_code,
)
from delineate.progress import track

MAX_PICTURES = 12
"""How many pictures a finding shows; a strip of several counts as two."""

MAX_LISTED = 500
"""How many files a finding lists."""


def write_page(
    path: Path,
    data: Path,
    findings: Sequence[Finding],
    examination: Examination,
    looked_for: Sequence[str],
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        data: The data set.
        findings: What was found, errors first.
        examination: Tells what was looked at.
        looked_for: A sentence for each check.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    warnings = [finding for finding in findings if finding.severity != "error"]
    cards = {
        id(finding): _card(finding, number, examination)
        for number, finding in enumerate(track(findings, "making the page"), start=1)
    }
    sections = [Section("Overview", _overview(findings, examination))]
    if errors:
        lead = paragraph("These stand in the way of a training.")
        sections.append(Section("Errors", [lead, *(cards[id(finding)] for finding in errors)]))
    if warnings:
        lead = paragraph("These stop nothing and deserve a look.")
        sections.append(Section("Warnings", [lead, *(cards[id(finding)] for finding in warnings)]))
    sections.append(
        Section(
            "What was looked for",
            [table("Checks", ("looked for",), [(sentence,) for sentence in looked_for])],
        )
    )
    name = data.resolve().name or str(data)
    lead_text = f"{data}: {_verdict(len(errors), len(warnings))}"
    page = render_page(f"Data of {name}", sections, lead=lead_text)
    # Names of files need not be UTF-8.
    write_text(path, page.encode("utf-8", "backslashreplace").decode("utf-8"))


def _verdict(num_errors: int, num_warnings: int) -> str:
    if not num_errors and not num_warnings:
        return "nothing was found."
    parts = [
        f"{number} {noun}{'' if number == 1 else 's'}"
        for number, noun in ((num_errors, "error"), (num_warnings, "warning"))
        if number
    ]
    return " and ".join(parts) + "."


def _overview(findings: Sequence[Finding], examination: Examination) -> list[Markup]:
    pairs = examination.pairs
    splits = [
        f"{number} {split}"
        for split in ("train", "val", "test")
        if (number := sum(pair.sample.split == split for pair in pairs))
    ]
    num_masks = len({mask.path for pair in pairs for mask in pair.masks})
    items = [
        Tile("errors", str(sum(finding.severity == "error" for finding in findings))),
        Tile("warnings", str(sum(finding.severity != "error" for finding in findings))),
        Tile("images", str(len(pairs)), ", ".join(splits)),
        Tile("masks", str(num_masks)),
    ]
    blocks = [tiles(items)]
    if findings:
        rows = [
            (
                _link(finding.code, number),
                finding.severity,
                str(len(finding.files) or "–"),
                with_code(_first_words(finding.what)),
            )
            for number, finding in enumerate(findings, start=1)
        ]
        headings = ("finding", "severity", "files", "what")
        blocks.append(table("Findings", headings, rows, is_text=True))
    return [*blocks, *_classes(examination)]


def _link(code: str, number: int) -> Markup:
    """Return the name of a finding as a link to its card."""
    return Markup('<a href="#finding-{}">{}</a>').format(number, code)


def _first_words(text: str, limit: int = 140) -> str:
    line = text.splitlines()[0] if text else ""
    return line if len(line) <= limit else line[:limit].rsplit(" ", 1)[0] + " ..."


def _classes(examination: Examination) -> list[Markup]:
    """Return the table of classes: pixels and images, split by split."""
    decoder = examination.decoder
    contents = [(pair.sample.split, pair.content) for pair in examination.pairs if pair.content]
    if decoder is None or not contents:
        return []
    names = list(decoder.task.class_names)
    if decoder.task.kind == "binary":
        names = ["background", *names]
    counts = np.array([content.class_pixels for _, content in contents], np.int64)
    shares = counts.sum(axis=0) / max(1, int(counts.sum()))
    rows = []
    for index, name in enumerate(names):
        images = [
            sum(split == wanted and content.class_pixels[index] > 0 for split, content in contents)
            for wanted in ("train", "val", "test")
        ]
        rows.append((name, f"{100 * shares[index]:.3g} %", *map(str, images)))
    note = " (read with the setting that an error proposes)" if examination.meaning else ""
    headings = ("class", "share of pixels", "train images", "val images", "test images")
    return [table(f"Classes, and how many images they occur in{note}", headings, rows)]


def _card(finding: Finding, number: int, examination: Examination) -> Markup:
    exhibits: list[Exhibit] = []
    room = MAX_PICTURES
    for item in finding.evidence:
        exhibit = show_evidence(item, examination) if room > 0 else None
        if exhibit is not None:
            exhibits.append(exhibit)
            room -= min(2, len(exhibit.pictures))
    blocks = list(_strips(exhibits))
    left = len(finding.evidence) - len(exhibits)
    if exhibits and left > 0:
        blocks.append(paragraph(f"{left} more are not shown."))
    if len(finding.fix) > MAX_SENTENCE:
        blocks.append(details("What settles it, whole", paragraph(with_code(finding.fix))))
    if finding.files:
        rows = [(file,) for file in finding.files[:MAX_LISTED]]
        if len(finding.files) > MAX_LISTED:
            rows.append((f"... and {len(finding.files) - MAX_LISTED} more in findings.json",))
        noun = "file" if len(finding.files) == 1 else "files"
        blocks.append(details(f"{len(finding.files)} {noun}", table("Files", ("file",), rows)))
    lines: list[tuple[str, str | Markup]] = [
        ("", with_code(finding.what)),
        ("Why it matters:", with_code(finding.why)),
        ("What settles it:", with_code(shorten(finding.fix))),
    ]
    if finding.remedies:
        command = f"delineate doctor {examination.listing.root} --fix OUT"
        lines.append(("Or a repaired copy:", with_code(f"`{command}`")))
    entry = Card(finding.code, finding.severity, lines, finding.severity, f"finding-{number}")
    return card(entry, blocks)


def _strips(exhibits: Sequence[Exhibit]) -> Iterator[Markup]:
    """Yield the pictures: single ones side by side, others a strip each."""
    single = [exhibit for exhibit in exhibits if len(exhibit.pictures) == 1]
    if single:
        captions = [f"{one.title} {one.note}".strip() for one in single]
        yield picture_rows(captions, [Row("", [one.pictures[0] for one in single])])
    for headings in dict.fromkeys(one.headings for one in exhibits if len(one.pictures) > 1):
        rows = [
            Row(one.title, one.pictures, one.note) for one in exhibits if one.headings == headings
        ]
        yield picture_rows(headings, rows)
