"""The named pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lambdaslim.bytecode import TASK_ROOT
from lambdaslim.compressors import DEFAULT
from lambdaslim.errors import UsageError
from lambdaslim.passes import (
    DropProvided,
    Exclude,
    Pass,
    PromoteBytecode,
    PruneData,
    RecompressGzip,
    StripBytecode,
    StripDocstrings,
    StripDocumentation,
    StripDuplicateData,
    StripElf,
    StripInstallerLeftovers,
    StripMetadata,
    StripSources,
    StripTests,
    StripTyping,
)
from lambdaslim.passes.promote_bytecode import Level, Mode
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


def safe(target: Target, promotion: PromoteBytecode) -> tuple[Pass, ...]:
    """Return the default: what programs do not notice, and provided modules where they serve."""
    # What was cached for a source is dead weight: it records the source's date, which no zip
    # preserves, and the builder's path. What `promotion` has put beside sources stays.
    cached = promotion.python if promotion.mode != "none" else None
    return (
        StripInstallerLeftovers(),
        StripTests(),
        DropProvided(target.runtime.name, architecture=target.architecture),
        StripDuplicateData(rules=False),
        StripMetadata(),
        StripTyping(),
        StripSources(),
        StripElf(),
        promotion,
        StripBytecode(cached),
    )


def small(target: Target, promotion: PromoteBytecode) -> tuple[Pass, ...]:
    """Return the smallest: `safe`, and what only some programs would miss."""
    cached = promotion.python if promotion.mode != "none" else None
    return (
        StripInstallerLeftovers(),
        StripTests(),
        DropProvided(target.runtime.name, architecture=target.architecture),
        PruneData(),
        StripDocumentation(),
        StripDuplicateData(),
        StripMetadata(),
        StripTyping(),
        StripSources(),
        StripElf(),
        RecompressGzip(),
        StripDocstrings(promotion.python, promotion.interpreter),
        promotion,
        StripBytecode(cached),
    )


def classic(target: Target, promotion: PromoteBytecode) -> tuple[Pass, ...]:
    """Return the well-known recipe, which breaks real packages: for comparison.

    Every difference from the shell commands is listed in docs/reference/presets.md.
    """
    provided = {row.distribution for row in target.runtime.provided}
    directories = [line for name, line in _CLASSIC_PROVIDED.items() if name in provided]
    return (
        Exclude(["*-info/"], must_match=False),
        Exclude(["tests/"], must_match=False),
        Exclude([*directories, *_CLASSIC_OTHERS, "/bin/*.py"], must_match=False),
        replace(promotion, importable_only=False),
        StripBytecode(promotion.python if promotion.mode == "cached" else None),
    )


_PRESETS: dict[str, Callable[[Target, PromoteBytecode], tuple[Pass, ...]]] = {
    "safe": safe,
    "small": small,
    "classic": classic,
}
NAMES: tuple[str, ...] = tuple(_PRESETS)


def preset(  # noqa: PLR0913 - the options of the one pass that has many
    name: str,
    target: Target,
    interpreter: Path | None = None,
    *,
    bytecode: Mode = "legacy",
    optimize: Level = 0,
    root: str = TASK_ROOT,
    require_bytecode: bool = False,
    services: Sequence[str] | None = None,
    locales: Sequence[str] | None = None,
    compression: str = DEFAULT,
) -> tuple[Pass, ...]:
    """Return the passes of a preset, to run as they are or to change.

    Args:
        name: "safe", "small" or "classic".
        target: what the package is for.
        interpreter: path of a Python of the target's version, to compile with; None looks for one.
        bytecode: "legacy", "cached" or "none"; like the others, see `passes.PromoteBytecode`.
        optimize: 0, 1 or 2.
        root: where the package is unpacked, for the file names in tracebacks.
        require_bytecode: make it an error if sources stay for want of an interpreter.
        services: the services that the code uses, see `passes.PruneData`; None looks for them in
            "small", and removes none in "safe".
        locales: the languages that the code uses; None removes none.
        compression: of gzip files in "small", see `lambdaslim.compressors.compressor`.

    Raises:
        UsageError: an unknown name, or an option with another value, or for the preset "classic".
    """
    if name not in _PRESETS:
        fix = f"choose one of {', '.join(NAMES)}"
        raise UsageError("is not a preset", where=name, fix=fix)
    promotion = PromoteBytecode(
        "{}.{}".format(*target.python),
        interpreter,
        root,
        mode=bytecode,
        optimize=optimize,
        require=require_bytecode,
    )
    chosen = tuple(
        replace(step, compression=compression) if isinstance(step, RecompressGzip) else step
        for step in _PRESETS[name](target, promotion)
    )
    if services is None and locales is None:
        return chosen
    return tuple(_choosing(chosen, services, locales))


def _choosing(
    chosen: Iterable[Pass], services: Sequence[str] | None, locales: Sequence[str] | None
) -> Iterator[Pass]:
    """Yield the passes with what the user chose; without prune-rules where a preset has none."""
    steps = list(chosen)
    places = [place for place, step in enumerate(steps) if isinstance(step, DropProvided)]
    if not places:
        what, fix = "takes no services or locales", "choose safe or small"
        raise UsageError(what, where="the preset classic", fix=fix)
    if not any(isinstance(step, PruneData) for step in steps):
        steps.insert(places[0] + 1, PruneData(rules=False))
    for step in steps:
        if isinstance(step, PruneData):
            yield PruneData(services, locales, rules=step.rules)
        else:
            yield step
