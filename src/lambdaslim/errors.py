"""The one family of errors: each says what is wrong, where, and what to do."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Return `text` safe to print: control characters and lone surrogates become escapes.

    A file name may hold an ESC that would drive the reader's terminal, or bytes that are no UTF-8;
    they are shown as `\x1b` and `\udcff`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "backslashreplace").decode("ascii")
        for character in text
    )


class SlimError(Exception):
    """Base of every error that lambdaslim raises on purpose.

    Attributes:
        what: what is wrong, in one clause.
        where: the file, directory, option or pattern concerned, or None.
        fix: what to do about it, in one clause.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str) -> None:
        """Store the three parts; `str(error)` joins them into one line."""
        super().__init__(what)
        self.what = what
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        """One line: `where: what; fix`."""
        place = f"{printable(self.where)}: " if self.where is not None else ""
        return f"{place}{printable(self.what)}; {printable(self.fix)}"

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by fields, since `what` alone is positional (errors cross process pools)."""
        return _rebuild, (type(self), self.__dict__.copy())


def _rebuild(kind: type[SlimError], fields: dict[str, object]) -> SlimError:
    error = kind.__new__(kind)
    error.__dict__.update(fields)
    error.args = (fields["what"],)
    return error


class ScanError(SlimError):
    """A source directory cannot be read as a tree (missing, empty, a symlink, a device, ...)."""


class UnsafeNameError(ScanError):
    """A path that a Lambda package cannot hold (control character, backslash, `..`, ...)."""


class OverlayError(ScanError):
    """Two sources give one path different contents."""


class ChangedError(ScanError):
    """A file of the tree changed between the scan and the moment it was read."""


class PatternError(SlimError):
    """A gitignore-style pattern that is malformed or too costly to match."""


class TargetError(SlimError):
    """An unknown runtime, architecture or Python version."""


class UsageError(SlimError):
    """Options that do not fit together, or name something that does not exist."""


class ConfigError(SlimError):
    """A configuration that cannot be read, or holds an unknown key or a value of a wrong type."""


class PlanError(SlimError):
    """A pass planned an edit that cannot be applied (an unknown path, two edits of one path)."""


class UnhealableError(SlimError):
    """No set of edits was found whose undoing mends the failure."""


class BytecodeError(SlimError):
    """The target's interpreter could not compile, or answered something that is no pyc."""


class DataError(SlimError):
    """A bundled or user-given data file (runtime, knowledge) does not fit its schema."""


class ArchiveError(SlimError):
    """A zip that breaks the strict rules of `strictzip`, or cannot be read at all."""


class OutputError(SlimError):
    """The output cannot be written there (inside the source, in use, disk full, ...)."""


class CompanionError(SlimError):
    """A sources companion that is none, or that belongs to another package."""


class VendorError(SlimError):
    """The installer (uv or pip) is missing or failed."""
