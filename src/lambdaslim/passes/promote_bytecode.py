"""Put bytecode where the sources were, so that Lambda neither compiles nor unpacks sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, get_args

from lambdaslim import pyc
from lambdaslim.bytecode import TASK_ROOT, Compiled, Source, compile_all
from lambdaslim.distributions import cache_of, source_of
from lambdaslim.errors import BytecodeError, UsageError
from lambdaslim.findings import Finding
from lambdaslim.hazards import Hazards
from lambdaslim.interpreters import find, how_to_get
from lambdaslim.passes.contract import Context
from lambdaslim.runtimes import Runtime
from lambdaslim.target import Target, parse_python
from lambdaslim.tree import Add, Decision, DiskFile, Entry, Keep, Remove, Replace, Tree

Mode = Literal["legacy", "cached", "none"]
Level = Literal[0, 1, 2]

MODES: tuple[str, ...] = get_args(Mode)
LEVELS: tuple[int, ...] = get_args(Level)

_SCRIPTS = {"bin", "Scripts"}
_NO_DOCSTRINGS = 2
_SUPERSEDED = "superseded by the promoted bytecode"
_DATA = "its source stays: it looks like data (a name or a directory of no package)"
_DOCUMENTED = "its docstrings stay: code seems to use them"


@dataclass(frozen=True, slots=True)
class PromoteBytecode:
    """Replace each importable `.py` by a `.pyc` of the target in the same place.

    With an interpreter of the target's version, every source is compiled, so the result does not
    depend on who compiled the caches, when and where. Without one, a cache in `__pycache__` is
    taken if it is provably the bytecode of its source: the target's magic number, and the source's
    recorded date and size, or hash. It is rewritten to the bytes that compiling would have given.
    Everything else keeps its source: a `.py` never goes without a valid `.pyc` in its place.

    A source that a rule, a keep pattern or the scan for hazards keeps gets its bytecode beside it,
    so that it is no slower to import than the others.

    Attributes:
        python: the target's version, like "3.13".
        interpreter: path of an interpreter of that version; None looks for one.
        root: where the package is unpacked, for the file names in tracebacks.
        importable_only: keep the sources of `.py` files that may be data (names that are no
            identifiers, directories without `__init__` inside packages), with bytecode beside them
            if they compile, as installers do; and leave scripts in `bin` alone.
        mode: "legacy" as above; "cached" leaves the sources and puts the bytecode into
            `__pycache__` beside them, valid whatever their dates; "none" does nothing.
        optimize: 0, or 1 to leave out assertions, or 2 to leave out docstrings too, but for those
            that code seems to use.
        require: make it an error if sources stay for want of an interpreter.

    Raises:
        TargetError: a malformed version, one of no runtime, or an interpreter of another one.
        UsageError: another mode or level, or a root that is no absolute path.
    """

    name: ClassVar[str] = "promote-bytecode"
    python: str
    interpreter: Path | None = None
    root: str = TASK_ROOT
    importable_only: bool = True
    mode: Mode = "legacy"
    optimize: Level = 0
    require: bool = False

    def __post_init__(self) -> None:
        """Refuse what no package can be made with."""
        self._target()
        if self.mode not in MODES:
            fix = f"choose one of {', '.join(MODES)}"
            raise UsageError("is no way to ship bytecode", where=str(self.mode), fix=fix)
        if self.optimize not in LEVELS or isinstance(self.optimize, bool):
            fix = "choose 0, 1 or 2"
            raise UsageError("is no level of optimisation", where=str(self.optimize), fix=fix)
        if not self.root.startswith("/") or not self.root.isprintable():
            fix = "give one like /var/task, or /opt/python for a layer"
            raise UsageError("is no absolute path", where=self.root, fix=fix)
        if self.require and self.mode == "none":
            fix = "leave out one of the two"
            raise UsageError("bytecode is required, and asked to be left out", fix=fix)

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a replacement per source and the removal of its caches, or a cache per source."""
        if self.mode == "none":
            return
        hazards = context.scan(tree)
        stays: dict[str, str | None] = {}
        for path in tree:
            script = self.importable_only and is_script(path, context)
            if path.endswith(".py") and not script:
                stays[path] = self._stays(path, tree, context, hazards)
        runtime = self._target().runtime
        interpreter = find(runtime.python, runtime.magic, self.interpreter)
        if interpreter:
            answers: dict[str, Compiled] = {}
            for level, paths in self._levels(stays, hazards).items():
                jobs = (Source(path, tree[path].read()) for path in paths)
                answers |= compile_all(
                    jobs, interpreter, root=self.root, optimize=level, cache=context.cache
                )
                if level < self.optimize:
                    yield from (Keep(path, _DOCUMENTED) for path in paths)
        else:
            answers = self._from_caches(list(stays), tree)
            yield from self._without_interpreter(answers)
        yield from self._unanswered(answers, stays)
        yield from self._shipped(tree, answers, stays)
        yield from self._unproved(tree, answers)
        yield from foreign_bytecode(tree, runtime)

    def _target(self) -> Target:
        return Target.of("python{}.{}".format(*parse_python(self.python)))

    def _stays(
        self, path: str, tree: Tree, context: Context, hazards: Hazards | None
    ) -> str | None:
        """Return why a source stays though it is compiled, None if it does not."""
        if self.mode == "cached":
            return ""
        if line := context.keep.match(path):
            return f"the keep pattern {line!r}"
        if rule := context.rule(self.name, path, tree):
            return rule.why
        if self.importable_only and not importable(inside(path, context), path, tree):
            return _DATA
        return hazards.sources.get(path) if hazards else None

    def _levels(self, paths: Iterable[str], hazards: Hazards | None) -> dict[Level, list[str]]:
        """Return the sources by how they are optimised."""
        if self.optimize < _NO_DOCSTRINGS or hazards is None:
            return {self.optimize: list(paths)}
        used = hazards.docstrings
        levels: dict[Level, list[str]] = {2: [], 1: []}
        for path in paths:
            levels[1 if path in used else 2].append(path)
        return levels

    def _from_caches(self, paths: list[str], tree: Tree) -> dict[str, Compiled]:
        if self.optimize:
            why = "optimised bytecode is never taken from a cache"
            return dict.fromkeys(paths, Compiled(None, why, compiled=False))
        return _Promotion(self._target(), self.root.rstrip("/"), tree).answers(paths)

    def _without_interpreter(self, answers: Mapping[str, Compiled]) -> Iterator[Finding]:
        kept = sum(answer.pyc is None for answer in answers.values())
        if kept:
            yield Finding(
                "bytecode-required" if self.require else "bytecode-no-interpreter",
                f"no Python {self.python} was found to compile with: sources without bytecode: "
                f"{kept:,}, with a valid cache: {len(answers) - kept:,}; "
                f"{how_to_get(self._target().python)}",
            )

    def _unanswered(
        self, answers: Mapping[str, Compiled], stays: Mapping[str, str | None]
    ) -> Iterator[Decision]:
        """Report what did not become bytecode."""
        consequence = (
            "its source stays" if self.mode == "legacy" else "it has no bytecode beside it"
        )
        for path, answer in answers.items():
            if answer.pyc is not None:
                continue
            yield Keep(path, _DATA if stays[path] == _DATA else f"{consequence}: {answer.error}")
            if answer.crashed:
                code = "bytecode-required" if self.require else "bytecode-crashed"
                yield Finding(code, f"{path}: {answer.error}", path)
            elif answer.compiled and stays[path] != _DATA:
                yield Finding("bytecode-does-not-compile", f"{path}: {answer.error}", path)

    def _shipped(
        self, tree: Tree, answers: Mapping[str, Compiled], stays: Mapping[str, str | None]
    ) -> Iterator[Decision]:
        """Put bytecode in the places of sources, or beside those that stay."""
        caches = _caches(tree)
        for path, answer in answers.items():
            if answer.pyc is None:
                continue
            why = stays[path]
            if why is None:
                promoted = Entry.of(f"{path}c", answer.pyc, executable=tree[path].executable)
                yield Replace(path, promoted, "bytecode in place of its source")
                yield from (Remove(one, _SUPERSEDED, follows=path) for one in caches.get(path, ()))
            else:
                yield from _beside(tree, Entry.of(self._cache(path), answer.pyc))
                if why:
                    yield Keep(path, why)

    def _unproved(self, tree: Tree, answers: Mapping[str, Compiled]) -> Iterator[Decision]:
        """Remove the target's caches of sources that have no bytecode of ours: nobody knows them.

        The interpreter would load one that says "unchecked", whatever its source says by now.
        """
        for path in tree:
            made = path.endswith(".py") and path in answers and answers[path].pyc is not None
            if path.endswith(".py") and not made and self._cache(path) in tree:
                yield Remove(self._cache(path), "nobody knows whether it is its source's")

    def _cache(self, path: str) -> str:
        return cache_of(path, self._target().cache_tag)


def foreign_bytecode(tree: Tree, runtime: Runtime) -> Iterator[Finding]:
    """Report importable bytecode, there without a source, that a runtime cannot load."""
    alone = (p for p in tree if p.endswith(".pyc") and source_of(p) not in tree)
    legacy = (path for path in alone if "__pycache__" not in path.split("/"))
    if foreign := [path for path in legacy if not _loads(tree[path], runtime.magic)]:
        more = f" and {len(foreign) - 1:,} more files" if len(foreign) > 1 else ""
        message = f"{foreign[0]}{more} cannot be imported: no bytecode of {runtime.name}"
        yield Finding("bytecode-foreign", message, foreign[0])


def _loads(entry: Entry, magic: int) -> bool:
    header = pyc.read_header(entry.read()[: pyc.HEADER_SIZE])
    return header is not None and header.magic == magic


def inside(path: str, context: Context) -> str:
    """Return a path from the directory that its distribution is installed in."""
    owner = context.distributions.owner(path)
    return path.removeprefix(f"{owner.root}/") if owner and owner.root else path


def is_script(path: str, context: Context) -> bool:
    """Tell whether a `.py` is run and not imported, so that no bytecode of it is ever read."""
    return inside(path, context).partition("/")[0] in _SCRIPTS


def importable(inside: str, path: str, tree: Tree) -> bool:
    """Tell whether an import statement can reach a `.py`, and its source is no more than that.

    A directory without `__init__` inside a package is a namespace that can be imported, or a
    template or other data that is read: it may be both.
    """
    parts = inside.removesuffix(".py").split("/")
    if not all(part.isidentifier() for part in parts):
        return False
    above = path.removesuffix(inside)
    inside_package = False
    for part in parts[:-1]:
        above += f"{part}/"
        package = any(f"{above}__init__{suffix}" in tree for suffix in (".py", ".pyc"))
        if inside_package and not package:
            return False
        inside_package = inside_package or package
    return True


def _caches(tree: Tree) -> dict[str, list[str]]:
    """Return the bytecode files of each source."""
    found: dict[str, list[str]] = {}
    for path in tree:
        if (source := source_of(path)) is not None:
            found.setdefault(source, []).append(path)
    return found


def _beside(tree: Tree, cached: Entry) -> Iterator[Decision]:
    """Put bytecode beside its source, under the name that the interpreter looks for."""
    if cached.path not in tree:
        yield Add(cached, "bytecode beside its source")
    elif tree[cached.path].read() != cached.read():
        yield Replace(cached.path, cached, "bytecode that no date makes stale")


@dataclass(frozen=True, slots=True)
class _Promotion:
    """Promotes existing caches, for want of the target's interpreter."""

    target: Target
    root: str
    tree: Tree

    def answers(self, paths: list[str]) -> dict[str, Compiled]:
        return {path: self._answer(path) for path in paths}

    def _answer(self, path: str) -> Compiled:
        cache = cache_of(path, self.target.cache_tag)
        if cache not in self.tree:
            why = f"no bytecode of {self.target.runtime.name} is cached for it"
            return Compiled(None, why, compiled=False)
        return self._promoted(self.tree[path], self.tree[cache].read())

    def _promoted(self, source: Entry, cached: bytes) -> Compiled:
        magic = self.target.runtime.magic
        data = source.read()
        if why := pyc.is_valid(cached, data, magic, source_mtime=_mtime(source)):
            return Compiled(None, f"its cached bytecode {why}", compiled=False)
        try:
            name = f"{self.root}/{source.path}"
            return Compiled(pyc.canonicalise(cached, data, magic, name), None)
        except BytecodeError as error:
            return Compiled(None, f"its cached bytecode {error.what}", compiled=False)


def _mtime(entry: Entry) -> int | None:
    """Return a disk file's date in whole seconds, as a pyc records it."""
    content = entry.content
    return content.mtime_ns // 1_000_000_000 if isinstance(content, DiskFile) else None
