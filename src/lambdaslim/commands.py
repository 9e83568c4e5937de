"""What each subcommand does: each function takes parsed arguments and returns text for stdout."""

from __future__ import annotations

import argparse
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from lambdaslim import limits, package, passes, presets, runtimes, verification
from lambdaslim.companion import Companion
from lambdaslim.compatibility import OF_THE_SYSTEM, check_compatibility
from lambdaslim.compressors import DEFAULT
from lambdaslim.errors import CompanionError, OutputError, UsageError
from lambdaslim.findings import Severity, demand_known
from lambdaslim.report import to_json, to_text
from lambdaslim.report.as_json import VERSION, dumps, findings_json, verification_json
from lambdaslim.report.as_text import findings_text, table, verification_text
from lambdaslim.report.facts import Outcome
from lambdaslim.scanner import test_zip
from lambdaslim.target import Target
from lambdaslim.tracebacks import Restored, restore_tracebacks
from lambdaslim.tree import Tree

Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to stdout (bytes as they are), the exit code, and lines for stderr.

    `complaint` is why something was refused, `note` what a reader of the output should know.
    """

    text: str | bytes
    code: int = 0
    complaint: str | None = None
    note: str | None = None


def pack(given: argparse.Namespace, progress: Progress) -> Answer:
    """Slim directories into a zip."""
    if not given.output.endswith(".zip"):
        raise UsageError("does not end in .zip", where=given.output, fix="name a zip file")
    return _slim(given, given.output, progress)


def slim(given: argparse.Namespace, progress: Progress) -> Answer:
    """Slim directories into another one, or one in place."""
    if given.in_place:
        _refuse_home(given.source)
        return _slim(given, None, progress)
    if given.to.endswith(".zip"):
        raise UsageError("is a zip", where=given.to, fix="use `lambdaslim pack`")
    return _slim(given, given.to, progress)


def _slim(given: argparse.Namespace, output: str | None, progress: Progress) -> Answer:
    if given.runtime is None:
        progress("no --runtime was given: taking the running interpreter's")
    complaint = None
    # Only `pack` has the option; an empty one is no compressor.
    compression = DEFAULT if given.compression is None else given.compression
    try:
        slimmed = package.slim(
            given.source,
            output,
            in_place=output is None,
            runtime=given.runtime,
            architecture=given.arch,
            preset=given.preset,
            keep=given.keep,
            drop=given.drop,
            skip=given.skip,
            services=given.services or None,
            locales=given.locales or None,
            knowledge=given.knowledge,
            hazards=given.hazards,
            layers=given.layer,
            upload=given.upload or "direct",
            allow_oversize=given.allow_oversize,
            allow=given.allow if given.strict else (*given.allow, *OF_THE_SYSTEM),
            strict=given.strict,
            symlinks=given.symlinks,
            interpreter=given.interpreter,
            bytecode=given.bytecode,
            optimize=given.optimize,
            root=given.root,
            require_bytecode=given.require_bytecode,
            sources=given.sources,
            compression=compression,
            heal=given.heal,
            verify=_checks(given),
            cache=_cache() if given.cache else None,
            dry_run=given.dry_run,
            offer=True,
            progress=progress,
        )
    except package.RefusedError as error:
        slimmed, complaint = error.slimmed, str(error)
    if slimmed.package.zipped is not None and given.compare:
        progress("compressing what was removed, to compare")
        before = package.zipped_before(slimmed.result, slimmed.package, compression)
    else:
        before = None
    outcome = Outcome(
        command=given.command,
        sources=tuple(given.source),
        output=output,
        preset=given.preset,
        slimmed=slimmed,
        zipped_before=before,
        companion=None if given.dry_run or complaint is not None else given.sources,
        dry_run=given.dry_run,
        refused=complaint is not None,
    )
    text = to_json(outcome) if given.json else to_text(outcome, colour=given.colour)
    errors = {f.code for f in slimmed.findings if f.severity is Severity.ERROR}
    failing = sorted(errors - set(given.allow))
    wrote = failing and complaint is None and not given.dry_run
    note = f"written all the same, with exit code 1: {', '.join(failing)}" if wrote else None
    return Answer(text, 1 if failing or complaint else 0, complaint, note)


def _refuse_home(sources: list[str]) -> None:
    try:
        home = Path.home().resolve()
    except RuntimeError:  # a user without one, as in many containers
        return
    for source in sources:
        if home.is_relative_to(Path(source).resolve()):
            raise OutputError(
                "is or holds your home directory and is never slimmed in place",
                where=source,
                fix="write to another directory with --to",
            )


def traceback(given: argparse.Namespace, progress: Progress) -> Answer:
    """Put source lines back into the tracebacks of a log."""
    companion = Companion.read(given.sources)
    for digest in given.digest:
        companion.demand(digest)
    if given.package is not None:
        progress("reading the package, to compare")
        _demand_package(companion, given.package, given.sources)
    certain = bool(given.digest) or given.package is not None
    done = restore_tracebacks(_log(given.log), companion, certain=certain)
    text = done.text.encode("utf-8", "surrogateescape")
    return Answer(text, note=_restored(done, companion.root))


def _demand_package(companion: Companion, path: str, sources: str) -> None:
    digest = package.load(path).digest()
    if digest != companion.content_digest:
        raise CompanionError(
            f"is another package than that of {sources}: its content digest is {digest}, not "
            f"{companion.content_digest}",
            where=path,
            fix="give the companion that was written with this package",
        )


def _restored(done: Restored, root: str) -> str | None:
    """Return what to say of a log in which something, or everything, stayed as it was."""
    if done.strangers:
        more = f" and {len(done.strangers) - 1:,} more" if len(done.strangers) > 1 else ""
        return f"not of this package, and left as they are: {done.strangers[0]}{more}"
    if not done.lines:
        return f"no line was restored: no frame below {root} lacks one that the companion has"
    return None


def _log(path: str) -> str:
    """Return a log, from stdin if its path is "-"; bytes that are no UTF-8 come through as are."""
    if path == "-":
        return sys.stdin.buffer.read().decode("utf-8", "surrogateescape")
    try:
        return Path(path).read_bytes().decode("utf-8", "surrogateescape")
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise UsageError(what, where=path, fix="name a log, or - for stdin") from error


def check(given: argparse.Namespace, progress: Progress) -> Answer:
    """Compare a package with Lambda's limits, and with a runtime if one is given."""
    allowed = demand_known(given.allow)
    target = Target.of(given.runtime, given.arch) if given.runtime else None
    tree = package.load(given.package)
    if Path(given.package).is_file():
        test_zip(given.package)
    zipped = Path(given.package).stat().st_size if Path(given.package).is_file() else None
    layers = [package.load(layer) for layer in given.layer]
    findings = limits.check(tree, zipped=zipped, layers=layers, upload=given.upload)
    if target is not None:
        progress(f"comparing with {target.runtime.name} on {target.architecture}")
        findings = (*check_compatibility(tree, target, layers=layers), *findings)
    failing = {Severity.ERROR, Severity.WARNING} if given.strict else {Severity.ERROR}
    code = 1 if any(f.severity in failing and f.code not in allowed for f in findings) else 0
    left = limits.headroom(tree.size, zipped, layers)
    if given.json:
        document = {
            "version": VERSION,
            "command": "check",
            "package": given.package,
            "runtime": target and target.runtime.name,
            "architecture": target and target.architecture,
            "size": {"files": len(tree), "unzipped": tree.size, "zipped": zipped},
            "layers": [{"files": len(layer), "unzipped": layer.size} for layer in layers],
            "limits": {"unzipped": limits.UNZIPPED, "zipped": limits.ZIPPED},
            "headroom": asdict(left),
            "findings": findings_json(findings),
        }
        return Answer(dumps(document), code)
    lines = [*_check_lines(tree, zipped, layers, left)]
    return Answer("\n".join([*lines, *findings_text(findings, colour=given.colour), ""]), code)


def _check_lines(
    tree: Tree, zipped: int | None, layers: list[Tree], left: limits.Headroom
) -> Iterator[str]:
    rows = [("unzipped", f"{tree.size:,}", f"{left.unzipped:,}", f"{limits.UNZIPPED:,}")]
    for number, layer in enumerate(layers, 1):
        rows.append((f"layer {number}", f"{layer.size:,}", "", ""))
    if zipped is not None:
        rows.append(("zipped", f"{zipped:,}", f"{left.zipped:,}", f"{limits.ZIPPED:,}"))
    yield from table((f"{len(tree):,} files", "bytes", "headroom", "limit"), rows)


def verify(given: argparse.Namespace, progress: Progress) -> Answer:
    """Compare what works in a package before and after slimming."""
    several = len(given.before) > 1
    found = verification.verify(
        given.before if several else given.before[0],
        given.after,
        runtime=given.runtime,
        architecture=given.arch,
        checks=_checks(given),
        removed=given.removed,
        interpreter=given.interpreter,
        cache=_cache(),
        progress=progress,
    )
    code = 1 if found.failures else 0
    if given.json:
        document = {"version": VERSION, "command": "verify", **(verification_json(found) or {})}
        return Answer(dumps(document), code)
    return Answer("\n".join(verification_text(found)) + "\n", code)


def _checks(given: argparse.Namespace) -> verification.Checks | None:
    """Return what is to be compared; None if `pack` was asked for no verification."""
    if given.event is not None and given.handler is None:
        raise UsageError("is for a handler", where=given.event, fix="name it with --handler")
    asked = (given.handler, given.run, given.timeout, given.client, given.env or None)
    wanted = getattr(given, "verify", True) or getattr(given, "heal", False)
    if not wanted and all(one is None for one in asked):
        return None
    return verification.Checks(
        handler=given.handler,
        event=_event(given.event),
        run=given.run,
        timeout=verification.TIMEOUT if given.timeout is None else given.timeout,
        client=given.client,
        environment=dict(map(_variable, given.env)),
    )


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError("is no variable", where=text or "''", fix="write NAME=VALUE")
    return name, value


def _event(path: str | None) -> object:
    if path is None:
        return {}
    try:
        return json.loads(Path(path).read_bytes())
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    except ValueError as error:
        what = f"is no JSON: {error}"
    raise UsageError(what, where=path, fix="name a file with the handler's event as JSON")


def _cache() -> Path | None:
    """Return where results and installed SDKs stay for later runs; None if there is no place."""
    if named := os.environ.get("LAMBDASLIM_CACHE"):
        return Path(named)
    if sys.platform == "win32":
        place = os.environ.get("LOCALAPPDATA")
        return Path(place) / "lambdaslim" / "Cache" if place else None
    try:
        home = Path.home()
    except RuntimeError:  # a user without one, as in many containers
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "lambdaslim"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "lambdaslim"


def vendor(given: argparse.Namespace, progress: Progress) -> Answer:
    """Fill a directory with packages for a target."""
    from lambdaslim.vendor import vendor as install  # noqa: PLC0415 - only this command needs it

    progress(f"installing for {given.runtime} on {given.arch}")
    done = install(
        given.requirement,
        into=given.into,
        target=Target.of(given.runtime, given.arch),
        requirement_files=given.requirement_file,
        installer=given.installer,
    )
    if given.json:
        document = {
            "version": VERSION,
            "command": "vendor",
            "directory": str(done.directory),
            "installer": done.installer,
            "arguments": list(done.command),
            "caveats": list(done.caveats),
        }
        return Answer(dumps(document))
    notes = "".join(f"note: {caveat}\n" for caveat in done.caveats)
    return Answer(f"installed into {done.directory} with {done.installer}\n{notes}")


def list_passes(given: argparse.Namespace, progress: Progress) -> Answer:  # noqa: ARG001
    """List the passes."""
    rows = [
        {
            "name": step.name,
            "summary": inspect.getdoc(step).partition("\n")[0],  # type: ignore[union-attr]
            "options": _options(step),
            "presets": [name for name in presets.NAMES if _uses(name, step)],
        }
        for step in passes.ALL
    ]
    if given.json:
        return Answer(dumps({"version": VERSION, "command": "passes", "passes": rows}))
    return Answer("\n".join(line for row in rows for line in _pass_lines(row)) + "\n")


def _uses(name: str, step: type[passes.Pass]) -> bool:
    newest = Target.of(runtimes.names()[-1])
    return any(isinstance(one, step) for one in presets.preset(name, newest))


def _options(step: type[passes.Pass]) -> dict[str, str | None]:
    """Return the options of a pass with their defaults as text; None marks a required one."""
    assert is_dataclass(step)  # noqa: S101 - the contract of a pass
    return {
        one.name: None if one.default is MISSING else str(one.default)
        for one in fields(step)
        if one.init and not one.name.startswith("_")
    }


def _pass_lines(row: dict[str, Any]) -> Iterator[str]:
    used = f" (in {', '.join(row['presets'])})" if row["presets"] else ""
    yield f"{row['name']}{used}"
    yield f"  {row['summary']}"
    shown = (name if value is None else f"{name}={value}" for name, value in row["options"].items())
    if text := ", ".join(shown):
        yield f"  options: {text}"


def list_runtimes(given: argparse.Namespace, progress: Progress) -> Answer:  # noqa: ARG001
    """List the runtimes."""
    known = [runtimes.load(name) for name in runtimes.names()]
    if given.json:
        rows = [asdict(runtime) for runtime in known]
        return Answer(dumps({"version": VERSION, "command": "runtimes", "runtimes": rows}))
    head = ("runtime", "system", "glibc", "boto3", "deprecation")
    return Answer("\n".join(table(head, (_runtime_row(runtime) for runtime in known))) + "\n")


def _runtime_row(runtime: runtimes.Runtime) -> tuple[str, ...]:
    boto3 = {row.distribution: row.version or "unrecorded" for row in runtime.provided}.get("boto3")
    glibc = "{}.{}".format(*runtime.glibc)
    return runtime.name, runtime.operating_system, glibc, boto3 or "-", runtime.deprecation or "-"
