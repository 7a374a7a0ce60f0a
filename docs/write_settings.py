"""Write docs/settings.md, the reference of all settings, from their docstrings.

python docs/write_settings.py          writes the page
python docs/write_settings.py --check  exits with 1 where the page is not up to date
"""

from __future__ import annotations

import sys
from pathlib import Path

from delineate.config import COMPONENTS, component_choices
from delineate.config.reference import Setting, list_settings, section_description

PAGE = Path(__file__).with_name("settings.md")
INTRODUCTION = """# Settings

Written by `make docs` from `src/delineate/config/schema.py`.

Every setting is three things at once: a flag of `delineate train` (`--training.batch-size 4`), a
key of a YAML file given by `--config` (`training: {batch_size: 4}`) and of `overrides` in Python
(`{"training": {"batch_size": 4}}`). Lists take several values (`--training.patch-size 128 128`),
or the flag repeated (`--data.ignore 0 --data.ignore '#9B9B9B'`); the legend takes a name
(`--data.legend.Road '#6EC1E4'`); `none` stands for no value. The settings of a run, complete, are
in its `config.yaml`.
"""


def settings_page() -> str:
    """Return the page as Markdown."""
    sections: dict[str, list[Setting]] = {}
    for setting in list_settings():
        sections.setdefault(setting.path[0], []).append(setting)
    return INTRODUCTION + "".join(_section(name, settings) for name, settings in sections.items())


def _section(name: str, settings: list[Setting]) -> str:
    lines = [f"\n## {name}", "", section_description(name), ""]
    if name in COMPONENTS:
        for choice, component in component_choices(name).items():
            lines.append(f"- `{choice}`: {(component.__doc__ or '').strip()}")
        lines.append("")
    has_choice = name in COMPONENTS
    lines.append(f"| setting | default |{' of |' if has_choice else ''} meaning |")
    lines.append(f"|---|---|{'---|' if has_choice else ''}---|")
    for setting in settings:
        everyone = has_choice and len(setting.components) == len(component_choices(name))
        owners = "all" if everyone else ", ".join(f"`{owner}`" for owner in setting.components)
        column = f" {owners} |" if has_choice else ""
        lines.append(
            f"| `{setting.dotted}` | `{setting.default_text}` |{column} {_meaning(setting)} |"
        )
    return "\n".join(lines) + "\n"


def _meaning(setting: Setting) -> str:
    text = setting.description.replace("|", "\\|")
    if setting.choices and not text.startswith("One of"):
        text += f" One of {', '.join(f'`{choice}`' for choice in setting.choices)}."
    return text


def main() -> int:
    """Write the page, or compare it with what would be written."""
    page = settings_page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page:
        sys.stderr.write(f"{PAGE.name} is not up to date: run 'make docs'\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
