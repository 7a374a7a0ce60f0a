"""Blocks of a page, and the page around them.

Each function returns escaped markup; `render_page` puts sections of such blocks into one file
that opens offline. The template and the style sheet lie beside this module.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from delineate.pages.layers import photo_address

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from delineate.pages.layers import LayeredRow

FOLDER = Path(__file__).parent

JPEG_QUALITY = 85

STRONG_SHARE = 0.8
"""From here on a heat table writes light on its colour, for contrast."""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: Sequence[Markup]


@dataclass(frozen=True)
class Tile:
    """One large number."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """A titled strip of pictures, (H, W, 3) uint8 each."""

    title: str
    pictures: Sequence[NDArray[np.uint8]]
    note: str = ""


@dataclass(frozen=True)
class Card:
    """A framed entry of a list."""

    title: str
    badge: str
    """A word or two before the title."""
    lines: Sequence[tuple[str, str | Markup]]
    """Label, which may be empty, and text of each paragraph; see `with_code`."""
    kind: str = ""
    """`error` sets it off."""
    anchor: str = ""
    """What links to it name."""


@cache
def _macros() -> Any:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template("template.html").module


def render_page(
    title: str,
    sections: Sequence[Section],
    *,
    lead: str = "",
    alerts: Sequence[str] = (),
    script: str = "",
    data: Mapping[str, Any] | None = None,
) -> str:
    """Return a whole HTML document.

    Its content security policy lets in no network, no form, no frame, and only the very style
    sheet and script that it holds, by their digests.

    Args:
        title: Of the window and the page; escaped, as all text is.
        sections: In reading order; each gets a link at the top.
        lead: A sentence under the title.
        alerts: What a reader must not miss, shown before everything else.
        script: Name of a file beside the template that makes the page interactive. The page must
            say everything without it too.
        data: What the script reads, JSON-ready.
    """
    style = (FOLDER / "page.css").read_text(encoding="utf-8")
    code = (FOLDER / script).read_text(encoding="utf-8") if script else ""
    return str(
        _macros().page(
            title,
            lead,
            alerts,
            sections,
            Markup(style),
            Markup(code),
            _script_data(data),
            _policy(style, code),
        )
    )


def _policy(style: str, code: str) -> str:
    scripts = f"'sha256-{_digest(code)}'" if code else "'none'"
    return (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src 'sha256-{_digest(style)}'; script-src {scripts}"
    )


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _script_data(data: Mapping[str, Any] | None) -> Markup:
    """Return JSON that no text in it can end or turn into markup."""
    if data is None:
        return Markup("")
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)


def paragraph(text: str | Markup) -> Markup:
    """Return a paragraph of text."""
    return Markup(_macros().paragraph(text))


def tiles(items: Sequence[Tile]) -> Markup:
    """Return a row of large numbers."""
    return Markup(_macros().tiles(items))


def figure(drawing: Markup, caption: str, key: Markup | str = "") -> Markup:
    """Return a drawing with its caption and, under it, a `legend`."""
    return Markup(_macros().figure(drawing, caption, key))


def figures(items: Sequence[Markup]) -> Markup:
    """Return figures side by side where there is room."""
    return Markup(_macros().figures(items))


def legend(colours: Mapping[str, Sequence[int]]) -> Markup:
    """Return a list of names with a patch of their colour, (red, green, blue) each."""
    entries = [(name, "#{:02x}{:02x}{:02x}".format(*rgb)) for name, rgb in colours.items()]
    return Markup(_macros().legend(entries))


def bar(share: float | None, text: str) -> Markup | str:
    """Return text with a bar before it that is filled to `share`, in [0, 1]; None has no bar."""
    return text if share is None else Markup(_macros().bar(round(100 * share, 1), text))


def details(summary: str, block: Markup) -> Markup:
    """Return a block that a click unfolds."""
    return Markup(_macros().details(summary, block))


def table(
    caption: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str | Markup]],
    *,
    is_text: bool = False,
) -> Markup:
    """Return a table whose first column names the rows; `is_text` aligns the others left."""
    made = Markup(_macros().table(caption, headings, rows))
    return Markup('<div class="texts">{}</div>').format(made) if is_text else made


def heat_table(
    caption: str,
    corner: str,
    names: Sequence[str],
    counts: NDArray[np.int64],
) -> Markup:
    """Return a square table of counts, each cell coloured by its share of its row.

    Args:
        caption: What the table shows.
        corner: The heading of the column of row names.
        names: Of rows and columns alike.
        counts: (N, N).
    """
    rows = []
    for name, row in zip(names, counts, strict=True):
        total = int(row.sum())
        cells = []
        for count in row:
            share = int(count) / total if total else 0.0
            cells.append(
                {
                    "step": round(20 * share),
                    "is_strong": share > STRONG_SHARE,
                    "text": f"{100 * share:.1f} %" if total else "–",
                    "note": f"{int(count):,}",
                }
            )
        rows.append((name, cells))
    return Markup(_macros().heat_table(caption, corner, names, rows))


def picture_rows(headings: Sequence[str], rows: Sequence[Row]) -> Markup:
    """Return strips of pictures, inlined as JPEG.

    Args:
        headings: What the pictures of each strip show, in their order.
        rows: The strips.
    """
    strips = [
        {"title": r.title, "note": r.note, "addresses": [data_address(p) for p in r.pictures]}
        for r in rows
    ]
    return Markup(_macros().picture_rows(headings, strips))


def layered_rows(rows: Sequence[LayeredRow]) -> Markup:
    """Return strips of views, each strip with its photograph stored once."""
    strips = [
        {
            "title": row.title,
            "note": row.note,
            "height": row.photo.shape[0],
            "width": row.photo.shape[1],
            "address": photo_address(row.photo),
            "views": row.views,
        }
        for row in rows
    ]
    return Markup(_macros().layered_rows(strips))


def subheading(text: str) -> Markup:
    """Return a heading inside a section."""
    return Markup(_macros().subheading(text))


def bullets(items: Sequence[str | Markup]) -> Markup:
    """Return a list."""
    return Markup(_macros().bullets(items))


def notice(text: str | Markup) -> Markup:
    """Return a paragraph that warns."""
    return Markup(_macros().notice(text))


def card(item: Card, blocks: Sequence[Markup] = ()) -> Markup:
    """Return a framed entry, with blocks under its text."""
    return Markup(_macros().card(item, blocks))


def with_code(text: str) -> Markup:
    """Return text in which what stands between backticks is set as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else part
        for number, part in enumerate(parts)
    )


def threshold_control(
    label: str, names: Sequence[str], numbers: Mapping[str, str], num_levels: int, reset: str
) -> Markup:
    """Return the slider of `report.js`, hidden until the script runs.

    Args:
        label: What the slider moves.
        names: The classes to choose from; one needs no choice.
        numbers: Key (as the script writes it) and label of each number shown.
        num_levels: Positions of the slider.
        reset: What the button that goes back says.
    """
    return Markup(_macros().threshold_control(label, names, numbers, num_levels, reset))


def data_address(picture: NDArray[np.uint8]) -> str:
    """Return a ``data:`` address that holds the picture, (H, W, 3), itself.

    PNG where the picture has few colours (masks stay sharp), else JPEG, whichever is smaller.
    """
    image = Image.fromarray(picture)
    kind, options = "JPEG", {"quality": JPEG_QUALITY}
    if image.getcolors(maxcolors=256) is not None:
        kind, options = "PNG", {"optimize": True}
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    encoded = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{encoded}"
