"""A cache saves work and changes nothing, whatever has happened to it."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from disk import environment, populate, posix_only
from lambdaslim import bytecode, commands, slim
from lambdaslim.cache import Cache, code_version
from lambdaslim.docstring_uses import DocstringUses
from lambdaslim.readings import as_text, from_text
from lambdaslim.signs import NONE, Signs, read_signs
from trees import PYTHON, dist

RUNTIME = f"python{PYTHON}"
DATA = b"x" * 5_000


def file_of(place: Path) -> Path:
    (found,) = (place / "results").glob("*.sqlite3")
    return found


def filled(place: Path, number: int = 50, size: int = 5_000) -> Path:
    with Cache(place) as cache:
        for n in range(number):
            cache.put("kind", f"key {n}", bytes([n % 256]) * size)
        assert cache.problem is None
    return file_of(place)


def hits(place: Path, number: int = 50, size: int = 5_000) -> int:
    """Return how many results are found; none of them may be another one's."""
    found = 0
    with Cache(place) as cache:
        for n in range(number):
            data = cache.get("kind", f"key {n}")
            assert data in (None, bytes([n % 256]) * size)
            found += data is not None
    return found


# What it keeps


def test_what_was_put_is_found_in_the_same_run_and_in_the_next(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        cache.put("kind", "key", b"data")
        cache.put("kind", "empty", b"")
        assert cache.get("kind", "key") == b"data"
    with Cache(tmp_path) as cache:
        assert cache.get("kind", "key") == b"data"
        assert cache.get("kind", "empty") == b""
        assert cache.get("other kind", "key") is None
        assert cache.get("kind", "other key") is None


def test_the_last_put_counts(tmp_path: Path) -> None:
    for data in (b"first", b"second"):
        with Cache(tmp_path) as cache:
            cache.put("kind", "key", data)
    with Cache(tmp_path) as cache:
        assert cache.get("kind", "key") == b"second"


def test_without_a_directory_nothing_is_kept(tmp_path: Path) -> None:
    with Cache(None) as cache:
        cache.put("kind", "key", b"data")
        assert cache.get("kind", "key") is None
        assert cache.problem is None
    cache = Cache(tmp_path)
    cache.close()
    cache.put("kind", "key", b"data")
    assert cache.get("kind", "key") is None


def test_large_and_many_results_are_found(tmp_path: Path) -> None:
    large = random.Random(3).randbytes(9 << 20)  # noqa: S311 - incompressible, not secret
    with Cache(tmp_path) as cache:
        cache.put("kind", "large", large)
    filled(tmp_path, number=5_000, size=10)
    assert hits(tmp_path, number=5_000, size=10) == 5_000
    with Cache(tmp_path) as cache:
        assert cache.get("kind", "large") == large


# Bounds


def test_what_was_not_used_for_longest_gives_way(tmp_path: Path) -> None:
    limit = 2 << 20
    for run in range(40):
        with Cache(tmp_path, limit=limit) as cache:
            if run == 0:
                cache.put("kind", "in use", DATA)
            assert cache.get("kind", "in use") == DATA, run
            for n in range(20):
                cache.put("kind", f"{run} {n}", bytes(10_000))
        assert file_of(tmp_path).stat().st_size <= limit * 1.2
    with Cache(tmp_path, limit=limit) as cache:
        assert cache.get("kind", "39 0") is not None
        assert cache.get("kind", "0 0") is None


def test_one_result_may_not_take_it_all(tmp_path: Path) -> None:
    with Cache(tmp_path, limit=1 << 20) as cache:
        cache.put("kind", "key", bytes(1 << 19))
        assert cache.get("kind", "key") is None


def test_a_file_from_a_time_of_a_higher_limit_is_started_anew(tmp_path: Path) -> None:
    filled(tmp_path, number=100, size=50_000)
    with Cache(tmp_path, limit=1 << 20) as cache:
        assert cache.problem is None
    assert file_of(tmp_path).stat().st_size <= 1 << 20


# Damage


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_damaged_bytes_are_never_results(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    place = tmp_path_factory.mktemp("cache")
    file = filled(place)
    raw = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 30))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    hits(place)
    with Cache(place) as cache:
        for n in range(50):
            cache.put("kind", f"key {n}", bytes([n]) * 5_000)
    hits(place)


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0", bytes(100_000)])
def test_a_file_that_is_no_cache_is_replaced(tmp_path: Path, content: bytes) -> None:
    file = filled(tmp_path)
    file.write_bytes(content)
    assert hits(tmp_path) == 0
    filled(tmp_path)
    assert hits(tmp_path) == 50


def test_a_result_under_another_key_is_none(tmp_path: Path) -> None:
    file = filled(tmp_path, number=2)
    connection = sqlite3.connect(file)
    connection.execute("update items set place = 3 - place")
    connection.commit()
    connection.close()
    assert hits(tmp_path, number=2) == 0


def test_a_file_that_vanishes_is_no_failure(tmp_path: Path) -> None:
    file = filled(tmp_path)
    with Cache(tmp_path) as cache:
        file.unlink()
        cache.get("kind", "key 1")
        cache.put("kind", "new", b"data")
    assert filled(tmp_path).exists()


# Places


@posix_only
def test_only_the_user_may_read_and_write_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        file = filled(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@posix_only
@pytest.mark.parametrize("which", ["file", "directory"])
def test_what_others_may_write_to_is_not_trusted(tmp_path: Path, which: str) -> None:
    file = filled(tmp_path)
    (file if which == "file" else file.parent).chmod(0o777)
    with Cache(tmp_path) as cache:
        assert cache.get("kind", "key 1") is None
        assert cache.problem is not None
        assert "others may write" in cache.problem


@posix_only
def test_a_link_is_not_followed(tmp_path: Path) -> None:
    filled(tmp_path / "theirs")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "results").symlink_to(tmp_path / "theirs" / "results")
    assert "symlink" in str(Cache(tmp_path / "mine").problem)


def test_a_place_that_cannot_be_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with Cache(tmp_path / "file") as cache:
        cache.put("kind", "key", b"data")
        assert cache.get("kind", "key") is None
        assert cache.problem


def test_without_sqlite_there_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    with Cache(tmp_path) as cache:
        cache.put("kind", "key", b"data")
        assert "sqlite3" in str(cache.problem)


def test_a_full_disk_is_no_failure(tmp_path: Path) -> None:
    with Cache(tmp_path) as cache:
        assert cache._connection
        cache._connection.execute("pragma max_page_count=20")
        cache.put("kind", "key", bytes(1_000_000))
        cache._flush()
        assert "full" in str(cache.problem)


# Others


def test_threads_share_it(tmp_path: Path) -> None:
    def work(n: int) -> bool:
        cache.put("kind", f"key {n}", bytes([n % 256]) * 5_000)
        return cache.get("kind", f"key {n}") == bytes([n % 256]) * 5_000

    with Cache(tmp_path) as cache, ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(3_000)))
    assert hits(tmp_path, 3_000) == 3_000


def test_threads_that_ask_for_the_same_wait_for_the_first(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> bytes:
        made.append(1)
        time.sleep(0.05)
        return b"data"

    with Cache(tmp_path) as cache, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(cache.once, "kind", "key", make) for _ in range(8)]
        assert {one.result() for one in asked} == {b"data"}
    assert len(made) == 1
    with Cache(tmp_path) as cache:
        assert cache.once("kind", "key", make) == b"data"
    assert len(made) == 1


def test_what_cannot_be_made_is_tried_by_the_next(tmp_path: Path) -> None:
    def fail() -> bytes:
        raise OSError

    with Cache(tmp_path) as cache:
        with pytest.raises(OSError):  # noqa: PT011 - nothing more to tell
            cache.once("kind", "key", fail)
        assert cache.once("kind", "key", lambda: b"data") == b"data"


RUN = """
import sys
from lambdaslim.cache import Cache
for _ in range(5):
    with Cache(sys.argv[1]) as cache:
        for n in range(50):
            data = cache.get("kind", f"key {n}")
            assert data in (None, bytes([n]) * 5_000), n
            cache.put("kind", f"key {n}", bytes([n]) * 5_000)
        assert cache.problem is None, cache.problem
"""


def test_runs_share_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    runs = [subprocess.Popen(command, env=environment()) for _ in range(3)]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    assert hits(tmp_path) == 50


def test_a_run_that_holds_it_for_long_costs_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = filled(tmp_path)
    monkeypatch.setattr("lambdaslim.cache._PATIENCE", 0.01)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("begin immediate")
    try:
        with Cache(tmp_path) as cache:
            cache.put("kind", "new", b"data")
            cache._flush()
            assert cache.get("kind", "key 1") is not None
            assert cache.problem is None
    finally:
        other.close()


# What it serves


@pytest.fixture
def source(tmp_path: Path) -> Path:
    files = {f"pkg/m{n}.py": f"import pkg.tests\nx = {n}\n" * 40 for n in range(9)}
    files |= {"pkg/__init__.py": "", "pkg/bad.py": "def", "pkg/tests/a.py": "a = 1\n"}
    tree = dist("pkg", files=files)
    return populate(tmp_path / "vendored", {entry.path: entry.read() for entry in tree})


def asked_of_compilers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the sources that are given to compilers, as it grows."""
    asked: list[str] = []
    answers = bytecode._answers

    def noting(
        make: bytecode._Make, sources: Sequence[bytecode.Source], workers: int
    ) -> dict[str, bytecode.Compiled]:
        asked.extend(one.path for one in sources)
        return answers(make, sources, workers)

    monkeypatch.setattr(bytecode, "_answers", noting)
    return asked


def test_a_warm_run_gives_the_bytes_of_a_cold_one_and_of_one_without_cache(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asked_of_compilers(monkeypatch)
    made = []
    for name, cache in (("none", None), ("cold", tmp_path / "c"), ("warm", tmp_path / "c")):
        asked.clear()
        made.append(slim(source, tmp_path / f"{name}.zip", runtime=RUNTIME, cache=cache))
        assert bool(asked) is (name != "warm")
    none, cold, warm = made
    assert none.package.sha256 == cold.package.sha256 == warm.package.sha256
    assert none.result.changes == cold.result.changes == warm.result.changes
    assert none.result.kept == cold.result.kept == warm.result.kept
    assert none.findings == cold.findings == warm.findings


def test_only_what_changed_is_done_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slim(source, tmp_path / "cold.zip", runtime=RUNTIME, cache=tmp_path / "c")
    (source / "pkg" / "m3.py").write_text("x = 'another'\n")
    asked = asked_of_compilers(monkeypatch)
    warm = slim(source, tmp_path / "warm.zip", runtime=RUNTIME, cache=tmp_path / "c")
    assert asked == ["pkg/m3.py"]
    fresh = slim(source, tmp_path / "fresh.zip", runtime=RUNTIME)
    assert warm.package.sha256 == fresh.package.sha256


def test_a_damaged_cache_does_not_show_in_the_package(source: Path, tmp_path: Path) -> None:
    place = tmp_path / "c"
    fresh = slim(source, tmp_path / "a.zip", runtime=RUNTIME, cache=place).package.sha256
    raw = bytearray(file_of(place).read_bytes())
    for position in range(50, len(raw), 97):
        raw[position] ^= 0x55
    file_of(place).write_bytes(raw)
    assert slim(source, tmp_path / "b.zip", runtime=RUNTIME, cache=place).package.sha256 == fresh


def test_an_unusable_cache_is_told_and_is_no_failure(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    lines: list[str] = []
    slim(
        source,
        tmp_path / "a.zip",
        runtime=RUNTIME,
        cache=tmp_path / "file",
        progress=lines.append,
    )
    assert any("without the cache" in line for line in lines)


def test_other_code_has_other_keys(tmp_path: Path) -> None:
    first, second = (populate(tmp_path, {name: name}) / name for name in ("a.py", "b.py"))
    versions = {
        code_version(str(first)),
        code_version(str(second)),
        code_version(str(first), str(second)),
    }
    assert len(versions) == 3


@pytest.mark.parametrize(
    "source",
    [
        "",
        "import inspect\ninspect.getsource(f)\nopen(__file__)\n",
        "from importlib import metadata\nmetadata.version('a')\nmetadata.entry_points(group='g')\n",
        "import os\np = os.path.join(dirname(__file__), 'tests', 'data')\nopen(p + 'a.py')\n",
        "@numba.jit(cache=True)\ndef f(): pass\n",
    ],
)
def test_signs_come_back_from_text(source: str) -> None:
    found = read_signs(source.encode())
    assert from_text(Signs, as_text(found)) == found
    assert (found == NONE) is (source == "")


def test_pairs_come_back_from_text() -> None:
    signs = Signs(below_tests=frozenset({("tests", "a"), ("tests", "b")}))
    assert from_text(Signs, as_text(signs)) == signs
    uses = DocstringUses(own=True, names=frozenset("ab"), handed=frozenset({("f", "")}))
    assert from_text(DocstringUses, as_text(uses)) == uses


# Where the command keeps it


@pytest.mark.parametrize(
    ("platform", "names", "expected"),
    [
        ("linux", {"LAMBDASLIM_CACHE": "/a"}, "/a"),
        ("linux", {"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/lambdaslim"),
        ("linux", {"XDG_CACHE_HOME": "", "HOME": "/h"}, "/h/.cache/lambdaslim"),
        ("darwin", {"HOME": "/h"}, "/h/Library/Caches/lambdaslim"),
        ("win32", {"LOCALAPPDATA": "/l"}, "/l/lambdaslim/Cache"),
        ("win32", {}, None),
    ],
)
@posix_only
def test_the_command_puts_it_where_the_system_has_caches(
    platform: str, names: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LAMBDASLIM_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert commands._cache() == (None if expected is None else Path(expected))


def test_a_cache_inside_a_source_is_not_used(source: Path, tmp_path: Path) -> None:
    said: list[str] = []
    first = slim(
        source,
        tmp_path / "a.zip",
        runtime=RUNTIME,
        cache=source / ".cache",
        progress=said.append,
    )
    assert any("is inside the source" in line for line in said)
    assert not (source / ".cache").exists()
    assert slim(source, tmp_path / "b.zip", runtime=RUNTIME).package.sha256 == first.package.sha256
