"""Put bytecode where the sources were, so that Lambda neither compiles nor unpacks sources."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from lambdaslim import pyc
from lambdaslim.bytecode import TASK_ROOT, Compiled, Source, compile_all
from lambdaslim.distributions import source_of
from lambdaslim.errors import BytecodeError
from lambdaslim.findings import Finding
from lambdaslim.interpreters import find
from lambdaslim.passes.contract import Context
from lambdaslim.target import Target, parse_python
from lambdaslim.tree import Decision, DiskFile, Entry, Keep, Remove, Replace, Tree

_SCRIPTS = {"bin", "Scripts"}


@dataclass(frozen=True, slots=True)
class PromoteBytecode:
    """Replace each importable `.py` by a `.pyc` of the target in the same place.

    With an interpreter of the target's version, every source is compiled, so the result does not
    depend on who compiled the caches, when and where. Without one, a cache in `__pycache__` is
    promoted if it is provably the bytecode of its source: the target's magic number, and the
    source's recorded date and size, or hash. Everything else keeps its source: a `.py` never goes
    without a valid `.pyc` in its place.

    Attributes:
        python: the target's version, like "3.13".
        interpreter: path of an interpreter of that version; None looks for one.
        root: where the package is unpacked, for the file names in tracebacks.
        importable_only: leave `.py` files alone that no import reaches (names that are no
            identifiers, scripts, directories without `__init__` inside packages): they are data.

    Raises:
        TargetError: a malformed version, one of no runtime, or an interpreter of another one.
    """

    name: ClassVar[str] = "promote-bytecode"
    python: str
    interpreter: Path | None = None
    root: str = TASK_ROOT
    importable_only: bool = True

    def __post_init__(self) -> None:
        """Refuse a malformed or unknown version."""
        self._target()

    def edits(self, tree: Tree, context: Context) -> Iterator[Decision]:
        """Yield a replacement per promoted source, and the removal of its caches."""
        wanted: list[str] = []
        for path in tree:
            if not path.endswith(".py"):
                continue
            if why := self._stays(path, tree, context):
                yield Keep(path, why)
            else:
                wanted.append(path)
        runtime = self._target().runtime
        interpreter = find(runtime.python, runtime.magic, self.interpreter)
        if interpreter:
            jobs = (Source(path, tree[path].read()) for path in wanted)
            answers = compile_all(jobs, interpreter, root=self.root)
        else:
            answers = _Promotion(self._target(), self.root.rstrip("/"), tree).answers(wanted)
            yield from self._without_interpreter(answers)
        caches = _caches(tree)
        for path in wanted:
            yield from _decision(tree[path], answers[path], caches.get(path, ()))
        yield from self._foreign(tree)

    def _target(self) -> Target:
        return Target.of("python{}.{}".format(*parse_python(self.python)))

    def _stays(self, path: str, tree: Tree, context: Context) -> str | None:
        """Return why a source stays before anything is compiled, or None."""
        if rule := context.rule(self.name, path):
            return rule.why
        owner = context.distributions.owner(path)
        if self.importable_only and not _importable(path, owner.root if owner else "", tree):
            return "its source stays: it looks like data (a name or a directory of no package)"
        return None

    def _without_interpreter(self, answers: Mapping[str, Compiled]) -> Iterator[Finding]:
        kept = sum(answer.pyc is None for answer in answers.values())
        yield Finding(
            "bytecode-no-interpreter",
            f"no Python {self.python} was found to compile with: {len(answers) - kept:,} sources "
            f"have a valid cache, {kept:,} were kept; install it (for example with "
            f"`uv python install {self.python}`) and put it on PATH or name it with --interpreter",
        )

    def _foreign(self, tree: Tree) -> Iterator[Finding]:
        """Report importable bytecode, there without a source, that the target cannot load."""
        alone = (p for p in tree if p.endswith(".pyc") and source_of(p) not in tree)
        legacy = (path for path in alone if "__pycache__" not in path.split("/"))
        if foreign := [path for path in legacy if not self._loads(tree[path])]:
            more = f" and {len(foreign) - 1:,} more files" if len(foreign) > 1 else ""
            message = f"{foreign[0]}{more} cannot be imported: no bytecode of Python {self.python}"
            yield Finding("bytecode-foreign", message, foreign[0])

    def _loads(self, entry: Entry) -> bool:
        header = pyc.read_header(entry.read()[: pyc.HEADER_SIZE])
        return header is not None and header.magic == self._target().runtime.magic


def _importable(path: str, root: str, tree: Tree) -> bool:
    """Tell whether an import statement can reach a `.py`.

    A directory without `__init__` inside a package is most often a template or other data; it would
    be importable as a namespace, but its sources cost little and may be read.
    """
    parts = path.removeprefix(f"{root}/" if root else "").removesuffix(".py").split("/")
    if not all(part.isidentifier() for part in parts) or parts[0] in _SCRIPTS:
        return False
    above = f"{root}/" if root else ""
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


def _decision(entry: Entry, answer: Compiled, caches: list[str] | tuple[()]) -> Iterator[Decision]:
    if answer.pyc is None:
        yield Keep(entry.path, f"its source stays: {answer.error}")
        if answer.compiled:
            yield Finding("bytecode-does-not-compile", f"{entry.path}: {answer.error}", entry.path)
        return
    for cache in caches:
        yield Remove(cache, "superseded by the promoted bytecode", follows=entry.path)
    promoted = Entry.of(f"{entry.path}c", answer.pyc, executable=entry.executable)
    yield Replace(entry.path, promoted, "bytecode in place of its source")


@dataclass(frozen=True, slots=True)
class _Promotion:
    """Promotes existing caches, for want of the target's interpreter."""

    target: Target
    root: str
    tree: Tree

    def answers(self, paths: list[str]) -> dict[str, Compiled]:
        return {path: self._answer(path) for path in paths}

    def _answer(self, path: str) -> Compiled:
        directory, _, name = path.rpartition("/")
        cache = f"{directory}/" if directory else ""
        cache += f"__pycache__/{name.removesuffix('.py')}.{self.target.cache_tag}.pyc"
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
            return Compiled(pyc.relocate(cached, data, magic, f"{self.root}/{source.path}"), None)
        except BytecodeError as error:
            return Compiled(None, f"its cached bytecode {error.what}", compiled=False)


def _mtime(entry: Entry) -> int | None:
    """Return a disk file's date in whole seconds, as a pyc records it."""
    content = entry.content
    return content.mtime_ns // 1_000_000_000 if isinstance(content, DiskFile) else None
