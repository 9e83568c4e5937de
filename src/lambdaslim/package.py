"""The whole road in one call: directories in, a checked package out."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import partial
from itertools import product
from pathlib import Path

from lambdaslim import limits, presets
from lambdaslim.ahead import compressing
from lambdaslim.archive import (
    Package,
    measure_dir,
    measure_zip,
    staged_zip,
    write_dir,
    write_zip,
    zip_size,
)
from lambdaslim.bytecode import TASK_ROOT
from lambdaslim.cache import Cache
from lambdaslim.companion import Companion
from lambdaslim.compatibility import check_compatibility
from lambdaslim.compressors import DEFAULT, Compressor, compressor
from lambdaslim.errors import OutputError, SlimError, UsageError
from lambdaslim.findings import Finding, Severity, demand_known
from lambdaslim.knowledge import Knowledge
from lambdaslim.limits import Upload
from lambdaslim.offers import Offer, offers
from lambdaslim.parallel import pack_all
from lambdaslim.passes import ALL, Exclude, Pass, PromoteBytecode
from lambdaslim.passes.promote_bytecode import Level, Mode
from lambdaslim.pipeline import Pipeline, Result
from lambdaslim.proving import Diagnosis, Proved, prove
from lambdaslim.readings import Readings
from lambdaslim.scanner import StrPath, Symlinks, scan, scan_zip
from lambdaslim.staging import recover, refuse_used
from lambdaslim.target import Target
from lambdaslim.tree import Tree
from lambdaslim.verification import Checks, Verification

_PROJECTS = (".git", ".hg", ".svn", "pyproject.toml", "setup.py")
_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")
_LIMIT_CODES = ("limit-unzipped", "limit-combined", "limit-zipped", "limit-layer-count")


@dataclass(frozen=True, slots=True)
class Slimmed:
    """What came of slimming.

    Attributes:
        target: what it was made for.
        result: the tree before and after, every change with its reason, and what was kept.
        package: sizes and digests; its `path` is None if nothing was written.
        layers: the function's layers, which count towards the limit.
        findings: of the passes, of the checks against the runtime and the limits, and of the
            verification.
        verification: what was compared before and after, None if nobody asked for it.
        diagnosis: what has to be kept if the verification failed, or was kept by healing.
        offers: what the passes of the preset "small" would save beyond "safe", if it was asked for.
    """

    target: Target
    result: Result
    package: Package
    layers: tuple[Tree, ...] = field(repr=False)
    findings: tuple[Finding, ...]
    verification: Verification | None = None
    diagnosis: Diagnosis | None = None
    offers: tuple[Offer, ...] = ()

    @property
    def headroom(self) -> limits.Headroom:
        """Bytes left under each limit."""
        return limits.headroom(self.package.unzipped, self.package.zipped, self.layers)


def _remedy(finding: Finding) -> str:
    if finding.code == "bytecode-required":
        return "to ship sources, do not ask for --require-bytecode (require_bytecode)"
    if finding.code == "verification-failed":
        return "keep what it needs (keep), or let that be done with --heal (heal)"
    if finding.code in _LIMIT_CODES:
        return "drop more, or allow it with --allow-oversize (allow_oversize)"
    return f"mend it, or allow it with --allow {finding.code} (allow)"


class RefusedError(SlimError):
    """A check failed, so nothing was written.

    Attributes:
        findings: the findings that decided.
        slimmed: the outcome up to there, for a report.
    """

    def __init__(self, findings: tuple[Finding, ...], slimmed: Slimmed) -> None:
        """Make the first finding the message."""
        more = f" (and {len(findings) - 1} more findings)" if len(findings) > 1 else ""
        super().__init__(
            f"{findings[0].message}{more}",
            where=findings[0].code,
            fix=f"nothing was written; {_remedy(findings[0])}",
        )
        self.findings = findings
        self.slimmed = slimmed


def slim(  # noqa: PLR0913 - one call for the whole road, every option by keyword
    source: StrPath | Sequence[StrPath],
    output: StrPath | None = None,
    *,
    in_place: bool = False,
    runtime: str | None = None,
    architecture: str = "x86_64",
    preset: str = "safe",
    passes: Sequence[Pass] | None = None,
    keep: Sequence[str] = (),
    drop: Sequence[str] = (),
    skip: Sequence[str] = (),
    services: Sequence[str] | None = None,
    locales: Sequence[str] | None = None,
    knowledge: bool = True,
    hazards: bool = True,
    layers: Sequence[StrPath] = (),
    upload: Upload = "direct",
    allow_oversize: bool = False,
    allow: Sequence[str] = (),
    strict: bool = False,
    symlinks: Symlinks | str = Symlinks.REFUSE,
    interpreter: StrPath | None = None,
    bytecode: Mode = "legacy",
    optimize: Level = 0,
    root: str = TASK_ROOT,
    require_bytecode: bool = False,
    sources: StrPath | None = None,
    compression: str = DEFAULT,
    verify: Checks | bool | None = None,
    heal: bool = False,
    cache: StrPath | None = None,
    dry_run: bool = False,
    offer: bool = False,
    progress: Callable[[str], object] = str,
) -> Slimmed:
    """Slim directories of installed packages into a Lambda package.

    Args:
        source: one directory or several, overlaid; not changed unless `in_place`.
        output: a path that ends in `.zip` for a zip, else a directory that does not exist or is
            empty.
        in_place: replace the (one) source itself instead of writing an output.
        runtime: like "python3.13"; by default that of the running interpreter.
        architecture: "x86_64" or "arm64".
        preset: "safe", "small" or "classic".
        passes: your own passes instead of a preset's.
        keep: gitignore patterns of files that no pass may touch.
        drop: gitignore patterns of files to remove first.
        skip: names of passes to leave out.
        services: the AWS and Google services that the code uses, like "s3"; data for others goes.
            None looks for them in your code in the preset "small", and removes none in "safe".
        locales: the languages whose data stays, like "de"; None keeps all.
        knowledge: whether the bundled keep-rules hold.
        hazards: whether code is scanned for what it needs; neither serves the preset "classic".
        layers: zips or directories of the function's layers, which count towards the limit.
        upload: "direct", or "s3", which has no limit on the zip.
        allow_oversize: write a package over the limits all the same.
        allow: codes of findings that never refuse the package.
        strict: let warnings refuse the package too.
        symlinks: "refuse", "inside" or "follow", see `scan`.
        interpreter: path of a Python of the runtime's version, to compile with.
        bytecode: "legacy" puts bytecode in the places of sources, "cached" beside them, "none"
            ships sources only.
        optimize: 0, or 1 to leave out assertions, or 2 to leave out docstrings too.
        root: where the package is unpacked: "/opt/python" or "/opt" for a layer's.
        require_bytecode: refuse the package if sources stay for want of an interpreter.
        sources: a path that ends in `.zip`, for a companion with the removed sources, from which
            `Companion` restores tracebacks.
        compression: of the zip: "zlib" (level 9, and 8 for native code), "zlib:0" to "zlib:9", and
            with the extra `max` "libdeflate" (level 10), "libdeflate:1" to "libdeflate:12", "max"
            (libdeflate's level 12) or "ultra" (zopfli).
        verify: compare what works before and after, by running it on this machine; a package in
            which something does not work any more is refused. True means the imports only.
        heal: verify, and if that fails, keep the fewest files that make it pass; without it the
            refusal names them all the same.
        cache: a directory that keeps for later calls what was compressed, compiled and read, at
            most 1 GiB, and what a verification has to install. The package does not depend on it.
            One inside a source is not used.
        dry_run: write nothing.
        offer: with the preset "safe", also find what "small" would save beyond it.
        progress: called with one line before each step that takes time.

    Raises:
        RefusedError: the package breaks a limit, does not fit the runtime, or its verification
            failed; nothing was written.
        SlimError: any other member of the family, for bad input or output.
    """
    _refuse_texts(
        keep=keep,
        drop=drop,
        skip=skip,
        layers=layers,
        allow=allow,
        services=services,
        locales=locales,
    )
    refusal = _Refusal(strict=strict, allowed=_allowed(allow, oversize=allow_oversize))
    limits.check_upload(upload)
    if in_place == (output is not None):
        raise UsageError("either an output or in_place is needed", fix="give one of the two")
    checks = Checks() if verify is True or (heal and not verify) else verify or None
    target = Target.of(runtime, architecture)
    options = _Promotion(interpreter, bytecode, optimize, root, require_bytecode)
    options.refuse_contradictions(skip)
    compress = compressor(compression)
    if passes is not None:
        options.refuse_any()
        _refuse_choices(services, locales)
    choose = partial(options.preset, services=services, locales=locales, compression=compression)
    chosen = choose(preset, target) if passes is None else tuple(passes)
    # The classic recipe is there to be compared with, so nothing may mend it.
    classic = passes is None and preset == "classic"
    pipeline = Pipeline(
        (*_dropping(drop), *_without(chosen, skip)),
        tuple(keep),
        Knowledge.bundled() if knowledge and not classic else Knowledge(),
        hazards=hazards and not classic,
    )
    directories = _paths(source)
    if output is None:
        place = _in_place(directories)
        if not dry_run:
            recover(place)
    else:
        _refuse_output(os.fspath(output), directories)
    if sources is not None:
        _refuse_companion(os.fspath(sources), output, directories)
    beside = tuple(load(path) for path in layers)
    tree = scan(*directories, symlinks=symlinks)
    cache = _outside(cache, directories, progress)
    with _cache(cache, progress) as results:
        pipeline = replace(pipeline, readings=Readings(results))
        fitting = partial(check_compatibility, target=target, layers=beside, scanned=tree)
        progress(f"slimming {len(tree):,} files, {tree.size:,} bytes")
        with compressing(_zipped(tree, output), pipeline.passes, compress, results):
            result = pipeline.run(tree)
            fit = fitting(result.after, distributions=result.distributions)
            proved = None
            # What cannot be loaded here or there needs no further proof.
            if checks is not None and not any(map(refusal, fit)):
                run_with = partial(prove, interpreter=interpreter, cache=cache, progress=progress)
                proved = run_with(pipeline, result, target, checks, healing=heal)
                result = proved.result
                fit = fitting(result.after, distributions=result.distributions)
        progress(f"writing {len(result.after):,} files, {result.after.size:,} bytes")
        small = partial(choose, "small", target)
        asked = (offer, preset, passes) == (True, "safe", None)
        find = partial(_offered, pipeline, result, small, skip) if asked else tuple
        with _meanwhile(find) as offered:
            delivery = _Delivery(
                target=target,
                result=result,
                layers=beside,
                upload=upload,
                compatibility=fit,
                refuses=refusal,
                root=_root(pipeline),
                companion=sources,
                proved=proved,
                compress=compress,
                cache=results,
                offers=offered,
            )
            return delivery.measured(output) if dry_run else delivery.to(output, directories)


def _refuse_texts(**lists: object) -> None:
    for name, value in lists.items():
        if isinstance(value, str):
            raise UsageError("must be a list, not one string", where=name, fix=f"write [{value!r}]")


def _outside(
    cache: StrPath | None, sources: Sequence[Path], progress: Callable[[str], object]
) -> StrPath | None:
    """Return where the cache may lie: nowhere in a source, of which it would become a part."""
    if cache is None:
        return None
    for source in sources:
        if Path(cache).resolve().is_relative_to(source.resolve()):
            progress(f"doing without the cache: {os.fspath(cache)} is inside the source {source}")
            return None
    return cache


def _zipped(tree: Tree, output: StrPath | None) -> Tree:
    """Return what of a tree is to be compressed: nothing, if there will be no zip."""
    return tree if output is not None and _is_zip(output) else Tree()


@contextmanager
def _cache(directory: StrPath | None, progress: Callable[[str], object]) -> Iterator[Cache]:
    with Cache(directory) as cache:
        if cache.problem:
            progress(f"doing without the cache: {cache.problem}")
        yield cache


@contextmanager
def _meanwhile(
    find: Callable[[], tuple[Offer, ...]],
) -> Iterator[Callable[[], tuple[Offer, ...]]]:
    """Find something in a thread; yield what waits for it, and returns or raises its outcome.

    It is mostly Python, and compressing mostly is not, so that both together take less time.
    """
    pool = ThreadPoolExecutor(1)
    try:
        yield pool.submit(find).result
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _offered(
    pipeline: Pipeline,
    result: Result,
    small: Callable[[], tuple[Pass, ...]],
    skip: Sequence[str],
) -> tuple[Offer, ...]:
    return offers(pipeline, result, _without(small(), skip))


def zipped_before(result: Result, package: Package, compression: str = DEFAULT) -> int:
    """Return the bytes of a zip of the tree before slimming, compressed by `compression`.

    Files that both trees share were compressed already and are not compressed again.
    """
    before, after = result.before, result.after
    shared = {p: n for p, n in package.compressed.items() if p in before and before[p] is after[p]}
    others = (entry for path, entry in before.items() if path not in shared)
    packed = pack_all(others, compressor(compression))
    return zip_size(shared | {one.path: one.compressed for one in packed})


def _paths(source: StrPath | Sequence[StrPath]) -> list[Path]:
    several = [source] if isinstance(source, (str, os.PathLike)) else source
    if not all(map(os.fspath, several)):
        fix = "name a directory; '.' is the working directory"
        raise UsageError("an empty path is no source", fix=fix)
    return [Path(one) for one in several]


@dataclass(frozen=True, slots=True)
class _Promotion:
    """The options that a preset hands to the pass that compiles."""

    interpreter: StrPath | None
    bytecode: Mode
    optimize: Level
    root: str
    require_bytecode: bool

    def refuse_contradictions(self, skip: Sequence[str]) -> None:
        """Raise `UsageError` for options that ask for bytecode and for none."""
        fix = "leave out one of the two"
        if self.bytecode == "none" and self.optimize:
            raise UsageError("bytecode is optimised, and asked to be left out", fix=fix)
        if self.require_bytecode and PromoteBytecode.name in skip:
            what = "bytecode is required, and the pass that makes it is left out"
            raise UsageError(what, where=PromoteBytecode.name, fix=fix)

    def refuse_any(self) -> None:
        """Raise `UsageError` for an option that was given beside passes of one's own."""
        defaults = _Promotion(None, "legacy", 0, TASK_ROOT, require_bytecode=False)
        for one in fields(self):
            if getattr(self, one.name) != getattr(defaults, one.name):
                what = "is for presets and not for your own passes"
                raise UsageError(what, where=one.name, fix="give it to PromoteBytecode")

    def preset(
        self,
        name: str,
        target: Target,
        *,
        services: Sequence[str] | None,
        locales: Sequence[str] | None,
        compression: str,
    ) -> tuple[Pass, ...]:
        return presets.preset(
            name,
            target,
            None if self.interpreter is None else Path(self.interpreter),
            bytecode=self.bytecode,
            optimize=self.optimize,
            root=self.root,
            require_bytecode=self.require_bytecode,
            services=services,
            locales=locales,
            compression=compression,
        )


def _refuse_choices(services: Sequence[str] | None, locales: Sequence[str] | None) -> None:
    """Raise `UsageError` for choices that were given beside passes of one's own."""
    for name, given in (("services", services), ("locales", locales)):
        if given is not None:
            what = "is for presets and not for your own passes"
            raise UsageError(what, where=name, fix="give it to PruneData")


def _root(pipeline: Pipeline) -> str:
    """Return the root of the file names in the package's bytecode."""
    roots = (one.root for one in pipeline.passes if isinstance(one, PromoteBytecode))
    return next(roots, TASK_ROOT)


def _dropping(patterns: Sequence[str]) -> tuple[Pass, ...]:
    return (Exclude(patterns),) if patterns else ()


def _without(chosen: Iterable[Pass], names: Sequence[str]) -> Iterator[Pass]:
    steps = tuple(chosen)
    known = {step.name for step in ALL} | {step.name for step in steps}
    for name in names:
        if name not in known:
            fix = f"choose from {', '.join(sorted(known))}"
            raise UsageError("is not a pass", where=name, fix=fix)
    return (step for step in steps if step.name not in names)


def load(path: StrPath) -> Tree:
    """Return the files of a zip, or of a directory, to be counted.

    Raises:
        ScanError: it is neither, or cannot be read.
    """
    return scan(path, symlinks=Symlinks.INSIDE) if Path(path).is_dir() else scan_zip(path)


def _is_zip(output: StrPath) -> bool:
    return os.fspath(output).lower().endswith(".zip")


def _refuse_output(path: str, sources: Sequence[Path]) -> None:
    """Refuse an impossible output before any work, and in a dry run too."""
    output = Path(path)
    if not path:
        raise OutputError("an empty path is no output", fix="name a zip or a directory")
    if "\0" in path:
        raise OutputError("holds a NUL character", where=path, fix="choose another name")
    _refuse_inside(output, sources)
    if not _is_zip(path):
        refuse_used(output)


def _refuse_companion(path: str, output: StrPath | None, sources: Sequence[Path]) -> None:
    if not _is_zip(path):
        raise OutputError("does not end in .zip", where=path, fix="name a zip file")
    if output is not None and Path(path).resolve() == Path(output).resolve():
        raise OutputError("is the package itself", where=path, fix="name another file")
    _refuse_output(path, sources)
    if output is not None and not _is_zip(output):
        _refuse_inside(Path(path), [Path(output)])


def _refuse_inside(output: Path, sources: Sequence[Path]) -> None:
    # What the output leads to, and, should it be a link, where the link itself lies.
    places = (output.resolve(), output.parent.resolve() / output.name)
    for top, place in product((source.resolve() for source in sources), places):
        if place.is_relative_to(top) or (top.is_relative_to(place) and top.exists()):
            raise OutputError(
                f"is inside the source {top}, or holds it",
                where=str(output),
                fix="write somewhere else, or slim in place",
            )


def _in_place(sources: Sequence[Path]) -> Path:
    """Return the one directory to be replaced, if that is not a ruin of the machine."""
    if len(sources) != 1:
        raise UsageError("in place needs exactly one source", fix="name one directory")
    place = sources[0].resolve()
    own = {Path(path).resolve() for path in (sys.executable, *sysconfig.get_paths().values())}
    libraries = {Path(sysconfig.get_path(name)).resolve() for name in _LIBRARIES}
    own |= {Path(one).resolve() for one in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    if any(one.is_relative_to(place) for one in own) or any(
        place.is_relative_to(one) for one in libraries
    ):
        raise OutputError(
            "is part of the running Python, or holds it, and is never slimmed in place",
            where=str(sources[0]),
            fix="write to another directory",
        )
    if marks := [name for name in _PROJECTS if (place / name).exists()]:
        raise OutputError(
            f"is a project ({marks[0]}), whose sources slimming would replace",
            where=str(sources[0]),
            fix="slim a directory of installed packages, or write to another directory",
        )
    return place


def _allowed(codes: Sequence[str], *, oversize: bool) -> frozenset[str]:
    return demand_known(codes) | (frozenset(_LIMIT_CODES) if oversize else frozenset())


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Which findings keep a package from being written."""

    strict: bool
    allowed: frozenset[str]

    def __call__(self, finding: Finding) -> bool:
        if finding.code in self.allowed:
            return False
        if self.strict and finding.severity is Severity.WARNING:
            return True
        return finding.severity is Severity.ERROR


@dataclass(frozen=True, slots=True)
class _Delivery:
    """Takes a result to its output, past the checks."""

    target: Target
    result: Result
    layers: tuple[Tree, ...]
    upload: Upload
    compatibility: tuple[Finding, ...]
    refuses: _Refusal
    root: str
    companion: StrPath | None
    proved: Proved | None
    compress: Compressor
    cache: Cache
    offers: Callable[[], tuple[Offer, ...]]

    def measured(self, output: StrPath | None) -> Slimmed:
        tree = self.result.after
        if output is not None and _is_zip(output):
            return self._checked(measure_zip(tree, compression=self.compress, cache=self.cache))
        return self._checked(measure_dir(tree))

    def to(self, output: StrPath | None, sources: Sequence[Path]) -> Slimmed:
        tree = self.result.after
        # A companion takes its place right after its package, and only then.
        with ExitStack() as companion:
            accept = partial(self._accepted, companion)
            if output is None:
                package = write_dir(tree, sources[0].resolve(), overwrite=True, accept=accept)
            elif _is_zip(output):
                package = write_zip(
                    tree, output, compression=self.compress, cache=self.cache, accept=accept
                )
            else:
                package = write_dir(tree, output, accept=accept)
        return self._slimmed(package)

    def _accepted(self, stack: ExitStack, package: Package) -> None:
        """Check the finished package, and write its companion."""
        self._checked(package)
        if self.companion is not None:
            name = self.target.runtime.name
            made = Companion.of(self.result, package, runtime=name, root=self.root)
            companion = staged_zip(made.tree(), self.companion, compression=self.compress)
            stack.enter_context(companion)

    def _checked(self, package: Package) -> Slimmed:
        """Return the outcome if no finding forbids it; raise `RefusedError` otherwise."""
        slimmed = self._slimmed(package)
        if refused := tuple(f for f in slimmed.findings if self.refuses(f)):
            raise RefusedError(refused, slimmed)
        return slimmed

    def _slimmed(self, package: Package) -> Slimmed:
        checks = limits.check(
            self.result.after,
            zipped=package.zipped,
            layers=self.layers,
            upload=self.upload,
            distributions=self.result.distributions,
            compressed=package.compressed or None,
        )
        checked = (*self.result.findings, *self.compatibility, *checks, *_broken(self.proved))
        findings = tuple(dict.fromkeys(checked))
        return Slimmed(
            target=self.target,
            result=self.result,
            package=package,
            layers=self.layers,
            findings=findings,
            verification=self.proved.verification if self.proved else None,
            diagnosis=self.proved.diagnosis if self.proved else None,
            offers=self.offers(),
        )


def _broken(proved: Proved | None) -> Iterator[Finding]:
    if proved and (failures := proved.verification.failures):
        more = f" (and {len(failures) - 1:,} more)" if len(failures) > 1 else ""
        what = f"does not work as before slimming: {failures[0]}{more}"
        yield Finding("verification-failed", what)
