"""The named pipelines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from lambdaslim.errors import UsageError
from lambdaslim.passes import (
    DropProvided,
    Exclude,
    Pass,
    PromoteBytecode,
    StripBytecode,
    StripInstallerLeftovers,
    StripMetadata,
    StripTests,
)
from lambdaslim.target import Target

# The directories that the classic recipe deletes by name. It also names docutils, which no runtime
# from python3.8 on provides; `_CLASSIC_OTHERS` is provided by none and only deleted.
_CLASSIC_PROVIDED = {
    "boto3": "/boto3/",
    "botocore": "/botocore/",
    "docutils": "/docutils/",
    "python-dateutil": "/dateutil/",
    "jmespath": "/jmespath/",
    "s3transfer": "/s3transfer/",
}
_CLASSIC_OTHERS = ("/numpy/doc/",)


def safe(target: Target, interpreter: Path | None = None) -> tuple[Pass, ...]:
    """Return the default: what programs do not notice, and provided modules where they serve."""
    python = "{}.{}".format(*target.python)
    return (
        StripInstallerLeftovers(),
        StripTests(),
        DropProvided(target.runtime.name, architecture=target.architecture),
        StripMetadata(),
        PromoteBytecode(python, interpreter),
        # What is cached for a source that stayed is dead weight: it records the source's date,
        # which no zip preserves, and the builder's path.
        StripBytecode(),
    )


def classic(target: Target, interpreter: Path | None = None) -> tuple[Pass, ...]:
    """Return the well-known recipe, which breaks real packages: for comparison.

    Every difference from the shell commands is listed in docs/reference/presets.md.
    """
    provided = {row.distribution for row in target.runtime.provided}
    directories = [line for name, line in _CLASSIC_PROVIDED.items() if name in provided]
    return (
        Exclude(["*-info/"], must_match=False),
        Exclude(["tests/"], must_match=False),
        Exclude([*directories, *_CLASSIC_OTHERS, "/bin/*.py"], must_match=False),
        PromoteBytecode("{}.{}".format(*target.python), interpreter, importable_only=False),
        StripBytecode(),
    )


_PRESETS: dict[str, Callable[[Target, Path | None], tuple[Pass, ...]]] = {
    "safe": safe,
    "classic": classic,
}
NAMES: tuple[str, ...] = tuple(_PRESETS)


def preset(name: str, target: Target, interpreter: Path | None = None) -> tuple[Pass, ...]:
    """Return the passes of a preset, to run as they are or to change.

    Args:
        name: "safe" or "classic".
        target: what the package is for.
        interpreter: path of a Python of the target's version, to compile with; None looks for one.

    Raises:
        UsageError: an unknown name.
    """
    if name not in _PRESETS:
        fix = f"choose one of {', '.join(NAMES)}"
        raise UsageError("is not a preset", where=name, fix=fix)
    return _PRESETS[name](target, interpreter)
