"""The invariants of ARCHITECTURE.md, over generated trees and generated pipelines.

Each property quotes the rule that it proves.
"""

from __future__ import annotations

import errno
import importlib.util
import marshal
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from random import Random
from unittest import mock

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lambdaslim.archive
import lambdaslim.parallel
from disk import below, leftovers, populate, posix_only
from elves import linked
from lambdaslim import (
    Entry,
    Pass,
    Pipeline,
    Result,
    SlimError,
    Target,
    Tree,
    passes,
    preset,
    scan,
    slim,
    write_dir,
    write_zip,
)
from lambdaslim.archive import measure_zip
from lambdaslim.strictzip import read_back
from lambdaslim.tree import clean_path

PYTHON = "{}.{}".format(*sys.version_info[:2])
RUNTIME = f"python{PYTHON}"
TAG = sys.implementation.cache_tag or ""
# Most of the time of an example goes to interpreters that start and compile.
few = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
fewer = settings(few, max_examples=20)

Files = dict[str, tuple[bytes, bool]]

NAMES = ["alpha", "beta", "gam-ma", "boto3", "urllib3"]
SOURCES = [
    "x = 1\n",
    "",
    "def broken(:\n",
    "import beta.tests\n",
    "from alpha import tests\n",
    "from ..alpha import tests\n",
    "from .tests import test_x\n",
    "NAME = 'alpha.tests.test_x'\n",
    "import gam_ma, boto3\n\n\ndef f():\n    return 'é'\n",
]
MODULES = ["__init__.py", "core.py", "sub/__init__.py", "sub/more.py", "tpl-x/page.py", "data.txt"]
TESTS = ["tests/__init__.py", "tests/test_x.py", "tests/data.txt", "sub/test/helper.py"]
OTHERS = [
    ".lock",
    "app.py",
    "handler/__init__.py",
    "tests/mine.py",
    "alpha/mine/tests/test_mine.py",
    "lib/é.py",
    "a b.txt",
    "-x",
    "#y",
    "core.pyc",
    "core.py",
    "odd.py",
    "odd.pyc/file.txt",
    "alpha/core.pyc",
    "bin/portable",
    "__pycache__/gone.cpython-38.pyc",
]


def cache_of(source: bytes, kind: str) -> bytes:
    """Return bytecode of a source, or what only looks like it."""
    try:
        code = marshal.dumps(compile(source, "/builder/x.py", "exec", dont_inherit=True))
    except SyntaxError:
        return b""
    digest = importlib.util.source_hash(source if kind != "stale" else source + b"#")
    whole = importlib.util.MAGIC_NUMBER + b"\1\0\0\0" + digest + code
    return whole[:20] if kind == "truncated" else whole


@st.composite
def caches(draw: st.DrawFn, path: str, source: bytes) -> Files:
    directory, _, name = path.rpartition("/")
    tag = draw(st.sampled_from([TAG, TAG, "cpython-36", f"{TAG}.opt-1"]))
    kind = draw(st.sampled_from(["valid", "stale", "truncated"]))
    place = f"{directory}/__pycache__/{name.removesuffix('.py')}.{tag}.pyc"
    return {place: (cache_of(source, kind), False)}


@st.composite
def distributions(draw: st.DrawFn, name: str) -> Files:
    """Draw an installed distribution: code, tests, caches, metadata with or without RECORD."""
    files: Files = {}
    package = name.replace("-", "_")
    modules = draw(st.lists(st.sampled_from(MODULES), min_size=1, unique=True))
    for path in [*modules, *draw(st.lists(st.sampled_from(TESTS), unique=True))]:
        source = draw(st.sampled_from(SOURCES)).encode()
        files[f"{package}/{path}"] = source, draw(st.booleans())
        if path.endswith(".py") and draw(st.booleans()):
            files |= draw(caches(f"{package}/{path}", source))
    owned = list(files)
    metadata = f"{name.replace('-', '_')}-1.0.dist-info"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0"]
    required = draw(st.lists(st.sampled_from(NAMES), max_size=2))
    lines += [
        f"Requires-Dist: {other}{draw(st.sampled_from(['', '>=1', '<1']))}" for other in required
    ]
    files[f"{metadata}/METADATA"] = "\n".join([*lines, "", "A README.", ""]).encode(), False
    for extra in draw(
        st.lists(st.sampled_from(["INSTALLER", "top_level.txt", "licenses/LICENSE"]))
    ):
        files[f"{metadata}/{extra}"] = f"{package}\n".encode(), False
    if draw(st.booleans()):
        listed = [*owned, *(path for path in files if path not in owned), "../../bin/x"]
        rows = "".join(f"{path},,\n" for path in [*listed, f"{metadata}/RECORD"])
        files[f"{metadata}/RECORD"] = rows.encode(), False
    return files


LIBRARIES = st.sampled_from([linked(), linked(late=b"behind a hole"), linked(appended=b"zip")])


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Draw a directory of installed packages and the user's own files."""
    files: Files = {}
    for name in draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True)):
        files |= draw(distributions(name))
    for path in draw(st.lists(st.sampled_from(OTHERS), max_size=5, unique=True)):
        content = b"" if path == ".lock" else draw(st.sampled_from(SOURCES)).encode()
        files.setdefault(path, (content, False))
    if draw(st.booleans()):
        files["bin/tool"] = b"#!/builder/bin/python3.11\nimport alpha\n", True
    if draw(st.booleans()):
        files["alpha.libs/libz.so.1"] = draw(LIBRARIES), draw(st.booleans())
    return Tree(Entry.of(path, data, executable=x) for path, (data, x) in files.items())


PATTERNS = ["*.txt", "*.py", "alpha/", "/beta/*", "!core.py", "**/tests/*", "*.pyc", "#y", "\\#y"]
pattern_lists = st.lists(st.sampled_from(PATTERNS), max_size=2)
STEPS: list[st.SearchStrategy[Pass]] = [
    pattern_lists.map(passes.Exclude),
    st.builds(passes.StripInstallerLeftovers, scripts=st.booleans()),
    st.just(passes.StripTests()),
    st.builds(
        passes.DropProvided,
        runtime=st.just(RUNTIME),
        when=st.sampled_from(["compatible", "always", "never"]),
    ),
    st.builds(passes.StripMetadata, keep=st.sampled_from(["none", "minimal", "all"])),
    st.builds(
        passes.PromoteBytecode,
        python=st.just(PYTHON),
        importable_only=st.booleans(),
        mode=st.sampled_from(["legacy", "cached", "none"]),
        optimize=st.sampled_from([0, 2]),
    ),
    st.builds(passes.StripElf, holes=st.sampled_from(["zero", "close"])),
    st.builds(passes.StripBytecode, python=st.sampled_from([None, PYTHON])),
]
# Any of them, in any order.
steps = st.permutations(STEPS).flatmap(
    lambda some: st.integers(0, len(some)).flatmap(lambda n: st.tuples(*some[:n]))
)
pipelines = st.builds(Pipeline, passes=steps, keep=pattern_lists)
presets = st.builds(
    preset,
    st.sampled_from(["safe", "classic"]),
    st.just(Target.of(RUNTIME)),
    bytecode=st.sampled_from(["legacy", "cached", "none"]),
)


def same(one: Entry, other: Entry) -> bool:
    return one.read() == other.read() and one.executable == other.executable


CLASH = Tree([Entry.of("odd.py", "x = 1\n"), Entry.of("odd.pyc/file.txt", "a directory")])


@few
@given(tree=trees(), pipeline=pipelines)
@example(tree=CLASH, pipeline=Pipeline((passes.PromoteBytecode(PYTHON),)))
def test_every_file_is_removed_kept_or_replaced(tree: Tree, pipeline: Pipeline) -> None:
    """1. Removed, kept and replaced files are the input, disjoint; every kept byte is identical.

    Added files are none of these.
    """
    result = pipeline.run(tree)
    # Later passes may edit what earlier ones put in place: follow each change. The changes of one
    # pass happen at once.
    state: dict[str, tuple[str | None, int, bool]]
    state = {path: (path, entry.size, True) for path, entry in tree.items()}
    for _, group in groupby(result.changes, key=lambda change: change.pass_name):
        changes = list(group)
        taken = {c.path: state.pop(c.path) for c in changes if not c.added}
        for change in changes:
            origin, size, _ = taken.get(change.path, (None, 0, False))
            assert size == change.before
            if change.new_path is None:
                assert change.after == 0
            else:
                assert change.new_path not in state
                state[change.new_path] = origin, change.after, False
    assert set(state) == set(result.after)
    kept = {origin for origin, _, untouched in state.values() if untouched}
    replaced = {origin for origin, _, untouched in state.values() if not untouched and origin}
    removed = set(tree) - kept - replaced
    assert not kept & replaced
    assert kept | replaced | removed == set(tree)
    assert removed <= {change.path for change in result.changes}
    assert all(same(result.after[path], tree[path]) for path in kept if path)
    assert {path: entry.size for path, entry in result.after.items()} == {
        path: size for path, (_, size, _) in state.items()
    }


@few
@given(tree=trees(), pipeline=pipelines)
def test_the_bytes_saved_are_the_sum_of_the_savings(tree: Tree, pipeline: Pipeline) -> None:
    """2. Bytes before - bytes after = the sum of recorded savings, exactly."""
    result = pipeline.run(tree)
    before, after = (sum(len(e.read()) for e in t.values()) for t in (result.before, result.after))
    assert before - after == sum(change.saved for change in result.changes) == result.saved
    assert all(change.reason and change.pass_name for change in result.changes)


@few
@given(tree=trees(), pipeline=pipelines)
def test_a_kept_file_is_never_edited(tree: Tree, pipeline: Pipeline) -> None:
    """1, with keep patterns: what one matches stays, identical, whatever the passes are."""
    everything = Pipeline((*pipeline.passes, passes.Exclude(["*"])), pipeline.keep)
    result = everything.run(tree)
    matched = Pipeline((passes.Exclude(pipeline.keep),)).run(tree)
    kept = {change.path for change in matched.changes}
    assert kept == set(result.after) & set(tree)
    assert not kept & {change.path for change in result.changes}
    assert all(same(result.after[path], tree[path]) for path in kept)


METADATA = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n"
IMPORTED_BY_NAME = Tree(
    [
        Entry.of("alpha/__init__.py"),
        Entry.of("alpha/tests/__init__.py"),
        Entry.of("beta/__init__.py", "from alpha import tests\n"),
        Entry.of("alpha-1.0.dist-info/METADATA", METADATA.format("alpha")),
        Entry.of("beta-1.0.dist-info/METADATA", METADATA.format("beta")),
    ]
)
UNRECORDED = Tree(
    [
        Entry.of("alpha/__init__.py"),
        Entry.of("alpha/mine/tests/test_mine.py", "x = 1\n"),
        Entry.of("alpha-1.0.dist-info/METADATA", METADATA.format("alpha")),
        Entry.of(
            "alpha-1.0.dist-info/RECORD",
            "alpha/__init__.py,,\nalpha-1.0.dist-info/METADATA,,\nalpha-1.0.dist-info/RECORD,,\n",
        ),
    ]
)


@few
@given(tree=trees(), chosen=presets)
@example(tree=IMPORTED_BY_NAME, chosen=preset("safe", Target.of(RUNTIME)))
@example(tree=UNRECORDED, chosen=preset("safe", Target.of(RUNTIME)))
def test_slimming_a_slimmed_tree_changes_nothing(tree: Tree, chosen: tuple[Pass, ...]) -> None:
    """3. Slimming a slimmed tree changes nothing."""
    pipeline = Pipeline(chosen)
    once = pipeline.run(tree)
    twice = pipeline.run(once.after)
    assert [(change.pass_name, change.path) for change in twice.changes] == []
    assert twice.after.digest() == once.after.digest()


@few
@given(tree=trees(), pipeline=pipelines, random=st.randoms(use_true_random=False))
def test_the_same_tree_and_options_give_the_same_result(
    tree: Tree, pipeline: Pipeline, random: Random
) -> None:
    """6. Same tree, same options => same bytes, whatever the order and the number of workers."""
    shuffled = list(tree.values())
    random.shuffle(shuffled)
    one, other = pipeline.run(tree), pipeline.run(Tree(shuffled))
    assert one.changes == other.changes
    assert one.kept == other.kept
    assert one.findings == other.findings
    if one.after:
        assert measure_zip(one.after, workers=1) == measure_zip(other.after, workers=8)


@contextmanager
def installed(tree: Tree) -> Iterator[Path]:
    """Yield a directory with a `source` as an installer leaves it: any dates, any modes."""
    with tempfile.TemporaryDirectory() as top:
        source = Path(top).resolve() / "source"
        for number, (path, entry) in enumerate(tree.items()):
            populate(source, {path: entry.read()})
            (source / path).chmod(0o755 if entry.executable else (0o444, 0o600, 0o644)[number % 3])
            os.utime(source / path, (number * 10**8, number * 10**8))
        yield source


outputs = st.sampled_from(["out.zip", "out"])


@posix_only
@fewer
@given(tree=trees(), chosen=steps, output=outputs)
def test_the_input_is_untouched_and_a_dry_run_plans_what_a_run_does(
    tree: Tree, chosen: tuple[Pass, ...], output: str
) -> None:
    """4. The input tree's bytes, modes and times are unchanged after any outcome.

    5. A dry run's plan equals the real run's changes.
    """
    with installed(tree) as source:
        before = below(source.parent)
        place = source.parent / output
        try:
            planned = slim(source, place, runtime=RUNTIME, passes=chosen, dry_run=True)
        except SlimError as error:
            with pytest.raises(type(error)):
                slim(source, place, runtime=RUNTIME, passes=chosen)
            assert below(source.parent) == before
            return
        assert below(source.parent) == before
        done = slim(source, place, runtime=RUNTIME, passes=chosen)
        assert planned.result.changes == done.result.changes
        assert planned.result.kept == done.result.kept
        assert planned.findings == tuple(f for f in done.findings if f.code != "limit-zipped")
        assert planned.package.content_digest == done.package.content_digest
        after = below(source.parent)
        assert {name: after[name] for name in before} == before
        assert not leftovers(source.parent)


FAULTS: list[tuple[object, str]] = [
    (os, "fsync"),
    (os, "replace"),
    (os, "rename"),
    (lambdaslim.parallel, "pack_entry"),
    (lambdaslim.archive, "read_back"),
    (lambdaslim.archive, "scan"),
]


def failing(real: Callable[..., object], turn: int, error: BaseException) -> Callable[..., object]:
    calls: Counter[str] = Counter()

    def call(*arguments: object, **options: object) -> object:
        calls["all"] += 1
        if calls["all"] == turn:
            raise error
        return real(*arguments, **options)

    return call


@posix_only
@settings(fewer, max_examples=60)
@given(
    tree=trees(),
    fault=st.sampled_from(FAULTS),
    turn=st.integers(1, 4),
    error=st.sampled_from([OSError(errno.EIO, "I/O"), KeyboardInterrupt(), MemoryError()]),
    output=st.sampled_from(["out.zip", "out", None]),
)
def test_a_fault_leaves_the_input_and_no_half_output(
    tree: Tree, fault: tuple[object, str], turn: int, error: BaseException, output: str | None
) -> None:
    """4. The input tree is unchanged after any outcome, faults included.

    10. A failure leaves no output and no temporary file.
    """
    module, name = fault
    with installed(tree) as source:
        before = below(source.parent)
        place = None if output is None else source.parent / output
        replacement = failing(getattr(module, name), turn, error)
        try:
            with mock.patch.object(module, name, replacement):
                slim(source, place, runtime=RUNTIME, passes=(passes.StripMetadata(keep="none"),))
        except (SlimError, OSError, KeyboardInterrupt, MemoryError):
            failed = True
        else:
            failed = False
        assert not leftovers(source.parent)
        after = below(source.parent)
        if output is not None:
            assert {path: after[path] for path in before} == before
        # Past the last rename the output is there, whole, and only flushing can still fail.
        if failed and after != before:
            assert name == "fsync"
            check_whole(source if place is None else place, tree)


def check_whole(place: Path, tree: Tree) -> None:
    expected = Pipeline((passes.StripMetadata(keep="none"),)).run(tree).after.digest()
    found = read_back(place).content_digest if place.suffix == ".zip" else scan(place).digest()
    assert found == expected


@posix_only
@fewer
@given(tree=trees(), error=st.sampled_from([OSError(errno.EIO, "I/O"), KeyboardInterrupt()]))
def test_an_existing_output_survives_a_failure(tree: Tree, error: BaseException) -> None:
    """10. An existing output is replaced only by a verified new one."""
    with tempfile.TemporaryDirectory() as top:
        place = populate(Path(top), {"out.zip": b"old", "out/old.txt": b"old"})
        before = below(place)
        fault = mock.patch.object(os, "fsync", failing(os.fsync, 1, error))
        with fault, pytest.raises((SlimError, KeyboardInterrupt)):
            write_zip(tree, place / "out.zip")
        assert below(place) == before
        fault = mock.patch.object(os, "fsync", failing(os.fsync, 1, error))
        with fault, pytest.raises((SlimError, KeyboardInterrupt)):
            write_dir(tree, place / "out", overwrite=True)
        assert below(place) == before


def extracted_by_zipfile(archive: Path, into: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        opened.extractall(into)
        for member in opened.infolist():
            (into / member.filename).chmod(member.external_attr >> 16 & 0o777)


def extracted_by_unzip(archive: Path, into: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    command = ["unzip", "-q", str(archive), "-d", str(into)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


READERS = [
    extracted_by_zipfile,
    pytest.param(
        extracted_by_unzip,
        marks=pytest.mark.skipif(
            sys.platform != "linux" or shutil.which("unzip") is None,
            reason="needs unzip and C.UTF-8",
        ),
    ),
]


@posix_only
@pytest.mark.parametrize("extract", READERS)
@fewer
@given(tree=trees(), pipeline=pipelines)
def test_the_output_extracted_is_the_tree(
    extract: Callable[[Path, Path], None], tree: Tree, pipeline: Pipeline
) -> None:
    """7. Every path in the output is relative, unique, UTF-8 and clean.

    Clean: no `..`, backslash or control character. Extracting with independent readers gives
    exactly the tree.
    """
    result: Result = pipeline.run(tree)
    if not result.after:
        return
    with tempfile.TemporaryDirectory() as top:
        write_zip(result.after, Path(top, "out.zip"))
        with zipfile.ZipFile(Path(top, "out.zip")) as archive:
            names = archive.namelist()
            modes = {stat.S_IMODE(member.external_attr >> 16) for member in archive.infolist()}
        assert len(names) == len(set(names)) == len(result.after)
        assert [clean_path(name) for name in names] == list(result.after)
        assert modes <= {0o644, 0o755}
        extract(Path(top, "out.zip"), Path(top, "out"))
        assert scan(Path(top, "out")).digest() == result.after.digest()
        directory = write_dir(result.after, Path(top, "directory"))
        assert directory.content_digest == result.after.digest()
