"""Every error that a user can cause, in one tree.

A message is one sentence that says what is, what should be and what to do, with the path and the
values in it. `exit_code` is what the command line exits with.
"""


class DelineateError(Exception):
    """Something that the user can put right."""

    exit_code = 1


class UsageError(DelineateError):
    """A command, an option, an argument or a setting is wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or a setting does not fit the schema."""


class UnknownNameError(UsageError):
    """A name is not in the table of choices; the message lists them."""

    def __init__(self, what: str, name: str, choices: list[str]) -> None:
        from difflib import get_close_matches

        close = get_close_matches(name, choices, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        super().__init__(f"unknown {what} {name!r}; choose one of {', '.join(choices)}.{hint}")


class ShapeError(DelineateError, ValueError):
    """Arrays or tensors do not fit each other or the task."""

    exit_code = 3


class DataError(DelineateError):
    """Images, masks or their pairing are not usable as they are."""

    exit_code = 3


class UnreadableFileError(DataError):
    """A file is missing, truncated, damaged or of a format that is not read."""


class ModelFileError(DelineateError):
    """A model file is refused: damaged, foreign, or made for other data."""

    exit_code = 4


class ResourceError(DelineateError):
    """Disk or memory does not suffice."""

    exit_code = 5


class PartialResultError(DelineateError):
    """Some of the work was done and kept, some of it failed."""

    exit_code = 6
