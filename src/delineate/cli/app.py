"""The program: its commands, one per stage, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import cast

import cyclopts

from delineate.cli.data_commands import doctor, import_, plan
from delineate.cli.display import print_settings
from delineate.cli.model_commands import compare, demo, evaluate, info, train
from delineate.cli.predict_command import predict
from delineate.cli.setting_flags import split_setting_flags
from delineate.config import Settings
from delineate.errors import DelineateError, UsageError

SETTABLE: dict[str, tuple[str, ...]] = {
    "doctor": ("data", "task"),
    "train": tuple(name for name in Settings.model_fields if name != "format_version"),
    "plan": tuple(name for name in Settings.model_fields if name != "format_version"),
    "evaluate": ("task", "data", "evaluation", "prediction"),
    "predict": ("prediction",),
}
"""Command -> the sections of settings that its flags may name."""

app = cyclopts.App(
    name="delineate",
    help="From a folder of images and masks to a trained, evaluated segmentation model.",
    version_flags=["--version"],
    help_flags=["--help", "-h"],
)
for command in (demo, doctor, plan, train, evaluate, predict, compare, info):
    app.command(command)
app.command(import_, name="import")


def run(tokens: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    A `DelineateError` becomes one sentence on stderr and its own exit code, Ctrl-C 130; anything
    else is a defect of the program and shows its traceback.
    """
    try:
        return _dispatch(list(tokens))
    except DelineateError as error:
        print(f"delineate: {error}", file=sys.stderr)
        return error.exit_code
    except cyclopts.CycloptsError as error:
        print(f"delineate: {' '.join(str(error).split())}", file=sys.stderr)
        return UsageError.exit_code
    except KeyboardInterrupt as interrupt:
        hint = f"; {interrupt}" if interrupt.args else ""
        print(f"delineate: interrupted{hint}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception:
        traceback.print_exc()
        print(
            "delineate: the lines above show a defect of delineate, not of your data; "
            "please report them together with the command.",
            file=sys.stderr,
        )
        return 1


def _dispatch(tokens: list[str]) -> int:
    command_name = next((token for token in tokens if not token.startswith("-")), None)
    sections = SETTABLE.get(command_name or "", ())
    is_help = any(token in ("--help", "-h") for token in tokens)
    rest, overrides = (tokens, {}) if is_help else split_setting_flags(tokens, sections)
    command, bound, ignored = app.parse_args(rest, exit_on_error=False, print_error=False)
    if "overrides" in ignored:
        bound.arguments["overrides"] = overrides or None
    command(*bound.args, **bound.kwargs)
    if is_help and sections:
        print_settings(cast(str, command_name), sections)
    return 0
