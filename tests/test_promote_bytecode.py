"""Promotion of bytecode; "row N" is a row of the catalogue of reliability cases."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import marshal
import os
import random
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from packaging.specifiers import SpecifierSet

from disk import posix_only
from interpreters import VERSIONS, find_interpreters
from lambdaslim import Pipeline, Result, SlimError, Tree, bytecode, scan
from lambdaslim.bytecode import Source, compile_all
from lambdaslim.errors import BytecodeError, UsageError
from lambdaslim.interpreters import Interpreter, ask
from lambdaslim.knowledge import KeepRule, Knowledge
from lambdaslim.passes import PromoteBytecode, StripBytecode, StripTests
from lambdaslim.passes.promote_bytecode import Level
from lambdaslim.patterns import Patterns
from trees import (
    MTIME,
    PYTHON,
    TAG,
    Data,
    Mode,
    cache_path,
    cached,
    dist,
    on_disk,
    pyc_of,
    tree_from,
)

Files = Mapping[str, Data]
Promote = Callable[[Files], Result]

BUILDER = b"/home/builder"
NESTED = """\
class A:
    def f(self, *names):
        return [lambda x=name: x in {"a", "b", "c"} for name in names]
async def g():
    yield "a text", 2.5, (1, (2, b"bytes")), 10**30, ...
"""


def promote(tree: Tree, *, keep: tuple[str, ...] = ()) -> Result:
    return Pipeline((PromoteBytecode(PYTHON),), keep=keep).run(tree)


@pytest.fixture
def no_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide every interpreter of the target."""
    monkeypatch.setattr("lambdaslim.passes.promote_bytecode.find", lambda *_: None)


@pytest.fixture(params=["compiled", "cached"])
def either(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Promote:
    """Promote files by the target's interpreter, or by their valid caches without one."""
    if request.param == "compiled":
        return lambda files: promote(tree_from(files))
    monkeypatch.setattr("lambdaslim.passes.promote_bytecode.find", lambda *_: None)
    return lambda files: promote(scan(on_disk(tree_from(with_caches(files)), tmp_path / "in")))


def with_caches(files: Files) -> Files:
    caches = (cached(path, data) for path, data in files.items() if path.endswith(".py"))
    return {**files, **{path: data for both in caches for path, data in both.items()}}


def run(directory: Path, *arguments: str, python: str | Path = sys.executable) -> str:
    """Run a Python that sees `directory` and nothing else, and return what it prints."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [python, "-s", "-S", "-B", *arguments],
        cwd=directory,
        env=kept,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def said(tree: Tree, directory: Path, code: str) -> str:
    return run(on_disk(tree, directory), "-c", code)


def code_of(pyc: bytes) -> CodeType:
    code = marshal.loads(pyc[16:])  # noqa: S302 - made by the tests
    assert isinstance(code, CodeType)
    return code


def all_codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from all_codes(constant)


def values(pyc: bytes) -> dict[str, object]:
    """Return the globals that a module has after its import."""
    found: dict[str, object] = {"__name__": "module"}
    exec(code_of(pyc), found)  # noqa: S102 - made by the tests
    return {name: value for name, value in found.items() if not name.startswith("__")}


def kept(result: Result) -> dict[str, str]:
    return {one.path: one.reason for one in result.kept}


def codes(result: Result) -> list[str]:
    own = [found for found in result.findings if found not in result.distributions.findings]
    return [finding.code for finding in own]


# What is promoted.


def test_every_source_becomes_bytecode_in_its_place(either: Promote) -> None:
    files = {"top.py": "x = 1\n", "pkg/__init__.py": "", "pkg/deep/b.py": NESTED, "data.txt": "d"}
    result = either({**files, "pkg/deep/__init__.py": ""})
    expected = ["data.txt", "pkg/__init__.pyc", "pkg/deep/__init__.pyc", "pkg/deep/b.pyc"]
    assert list(result.after) == [*expected, "top.pyc"]
    assert {change.reason for change in result.changes} <= {
        "bytecode in place of its source",
        "superseded by the promoted bytecode",
    }


def test_header_is_that_of_an_unchecked_hash(either: Promote) -> None:
    pyc = either({"pkg/a.py": NESTED}).after["pkg/a.pyc"].read()
    known = importlib.util.source_hash(NESTED.encode())
    assert pyc[:16] == importlib.util.MAGIC_NUMBER + b"\x01\0\0\0" + known


def test_row_57_file_name_is_the_one_in_lambda(either: Promote) -> None:
    pyc = either({"pkg/a.py": NESTED}).after["pkg/a.pyc"].read()
    inside = list(all_codes(code_of(pyc)))
    assert {code.co_filename for code in inside} == {"/var/task/pkg/a.py"}
    assert len(inside) >= 4


def test_row_57_no_host_path_is_left(either: Promote, tmp_path: Path) -> None:
    after = either({"pkg/a.py": NESTED, "b.py": "def f(): pass\n"}).after
    for path, entry in after.items():
        assert path.endswith(".pyc")
        assert BUILDER not in entry.read()
        assert str(tmp_path).encode() not in entry.read()


def test_file_name_is_below_another_root() -> None:
    tree = tree_from({"a.py": NESTED})
    result = Pipeline((PromoteBytecode(PYTHON, root="/opt/"),)).run(tree)
    assert code_of(result.after["a.pyc"].read()).co_filename == "/opt/a.py"


@pytest.mark.usefixtures("no_interpreter")
def test_another_root_without_an_interpreter(tmp_path: Path) -> None:
    tree = scan(on_disk(tree_from(cached("a.py", NESTED)), tmp_path))
    result = Pipeline((PromoteBytecode(PYTHON, root="/opt/"),)).run(tree)
    assert code_of(result.after["a.pyc"].read()).co_filename == "/opt/a.py"


def test_prefix_of_a_layer_is_in_the_file_name(either: Promote) -> None:
    name = "python/pkg/a.py"
    assert code_of(either({name: "x = 1\n"}).after[f"{name}c"].read()).co_filename == (
        "/var/task/python/pkg/a.py"
    )


def test_no_columns_are_left() -> None:
    pyc = promote(tree_from({"a.py": NESTED})).after["a.pyc"].read()
    for code in all_codes(code_of(pyc)):
        positions = list(code.co_positions())
        assert {position[2:] for position in positions} == {(None, None)}
        assert any(position[0] is not None for position in positions)


@pytest.mark.parametrize("mode", ["timestamp", "checked", "unchecked"])
@pytest.mark.usefixtures("no_interpreter")
def test_valid_caches_are_promoted(mode: Mode, tmp_path: Path) -> None:
    files = cached("pkg/a.py", NESTED, mode)
    result = promote(scan(on_disk(tree_from(files), tmp_path)))
    assert list(result.after) == ["pkg/a.pyc"]
    assert codes(result) == []


@pytest.mark.usefixtures("no_interpreter")
def test_a_recorded_time_without_a_known_one_is_not_proof() -> None:
    result = promote(tree_from(cached("timed.py", "x = 1\n"), cached("hashed.py", "", "checked")))
    assert list(result.after) == ["hashed.pyc", "timed.py"]
    assert "time, which is not known" in kept(result)["timed.py"]


def test_every_cache_of_a_promoted_source_goes(either: Promote) -> None:
    caches = [cache_path("pkg/a.py", f"{TAG}.opt-1"), cache_path("pkg/a.py", "cpython-38")]
    result = either({"pkg/a.py": "x = 1\n", **dict.fromkeys(caches, b"")})
    assert list(result.after) == ["pkg/a.pyc"]


def test_the_executable_bit_stays() -> None:
    tree = tree_from({"a.py": ""})
    executable = Tree([type(tree["a.py"]).of("a.py", "", executable=True)])
    assert promote(executable).after["a.pyc"].executable


# The catalogue.


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize("old", ["x = 1\n", "x = 2\n"], ids=["stale", "valid"])
def test_row_39_legacy_bytecode_is_not_trusted(old: str, tmp_path: Path) -> None:
    files: Files = {"foo.py": "x = 2\n", "foo.pyc": pyc_of(old)}
    result = promote(scan(on_disk(tree_from(files), tmp_path / "in")))
    assert list(result.after) == ["foo.py", "foo.pyc"]
    assert said(result.after, tmp_path / "out", "import foo; print(foo.x)") == "2"


def test_row_39_legacy_bytecode_is_recompiled() -> None:
    result = promote(tree_from({"foo.py": "x = 2\n", "foo.pyc": pyc_of("x = 1\n", "unchecked")}))
    assert list(result.after) == ["foo.pyc"]
    assert values(result.after["foo.pyc"].read()) == {"x": 2}


STALE = {
    "time": pyc_of("x = 2\n", mtime=MTIME - 1),
    "size": pyc_of("x = 10\n"),
    "checked": pyc_of("x = 1\n", "checked"),
    "unchecked": pyc_of("x = 1\n", "unchecked"),
}


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize("cache", STALE.values(), ids=STALE)
def test_row_40_stale_caches_are_not_promoted(cache: bytes, tmp_path: Path) -> None:
    tree = tree_from({"foo.py": "x = 2\n", cache_path("foo.py"): cache})
    result = promote(scan(on_disk(tree, tmp_path)))
    assert list(result.after) == ["foo.py"]
    assert "its cached bytecode is stale" in kept(result)["foo.py"]


@pytest.mark.parametrize("cache", STALE.values(), ids=STALE)
def test_row_40_stale_caches_are_recompiled(cache: bytes) -> None:
    result = promote(tree_from({"foo.py": "x = 2\n", cache_path("foo.py"): cache}))
    assert values(result.after["foo.pyc"].read()) == {"x": 2}


FOREIGN = pyc_of("x = 2\n", "checked")
FOREIGN = b"\x00\x0d" + FOREIGN[2:]


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize("tag", ["cpython-310", "cpython-38", "pypy39", "graalpy-310"])
def test_row_41_caches_of_other_interpreters_are_not_promoted(tag: str) -> None:
    result = promote(tree_from({"foo.py": "x = 2\n", cache_path("foo.py", tag): FOREIGN}))
    assert result.changes == ()
    assert kept(result) == {
        "foo.py": f"its source stays: no bytecode of python{PYTHON} is cached for it"
    }


@pytest.mark.usefixtures("no_interpreter")
def test_row_41_the_magic_number_counts_and_not_the_name() -> None:
    result = promote(tree_from({"foo.py": "x = 2\n", cache_path("foo.py"): FOREIGN}))
    assert list(result.after) == ["foo.py"]
    assert "magic number" in kept(result)["foo.py"]


def test_row_41_foreign_bytecode_without_a_source_is_reported() -> None:
    own = pyc_of("x = 2\n", "unchecked")
    result = promote(tree_from({"own.pyc": own, "foreign.pyc": FOREIGN, "short.pyc": own[:9]}))
    assert result.changes == ()
    (found,) = [f for f in result.findings if f.path]
    assert (found.code, found.path) == ("bytecode-foreign", "foreign.pyc")
    assert "foreign.pyc and 1 more files cannot be imported" in found.message


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize("level", ["opt-1", "opt-2"])
def test_row_42_optimised_caches_are_not_promoted(level: str) -> None:
    cache = pyc_of("x = 2\n", "checked")
    tree = tree_from({"foo.py": "x = 2\n", cache_path("foo.py", f"{TAG}.{level}"): cache})
    assert promote(tree).changes == ()


def test_row_42_assertions_and_docstrings_stay(either: Promote) -> None:
    pyc = either({"foo.py": "def f():\n    'Doc.'\n    assert False\n"}).after["foo.pyc"].read()
    f = values(pyc)["f"]
    assert callable(f)
    assert f.__doc__ == "Doc."
    with pytest.raises(AssertionError):
        f()


@pytest.mark.usefixtures("no_interpreter")
@pytest.mark.parametrize("size", [0, 3, 15, 16, 17, -1])
def test_row_43_truncated_caches_are_not_promoted(size: int) -> None:
    cache = pyc_of(NESTED, "checked")[:size]
    result = promote(tree_from({"foo.py": NESTED, cache_path("foo.py"): cache}))
    assert list(result.after) == ["foo.py"]
    assert "its cached bytecode " in kept(result)["foo.py"]


@pytest.mark.usefixtures("no_interpreter")
def test_row_43_a_longer_cache_is_not_promoted() -> None:
    cache = pyc_of(NESTED, "checked") + b"\0"
    result = promote(tree_from({"foo.py": NESTED, cache_path("foo.py"): cache}))
    assert list(result.after) == ["foo.py"]


BROKEN: dict[str, bytes] = {
    "python2": b"print 'hello'\n",
    "template": b"import {{ cookiecutter.name }}\n",
    "null": b"x = 1\0\n",
    "not-utf-8": b"x = '\xe9'\n",
    "cookie": b"# -*- coding: klingon -*-\nx = 1\n",
    "bom-and-cookie": b"\xef\xbb\xbf# -*- coding: latin-1 -*-\nx = 1\n",
    "return": b"return 1\n",
    "indentation": b"def f():\nx = 1\n",
    "brackets": b"(" * 100_000,
    "signs": b"x = " + b"-" * 100_000 + b"1\n",
    "sum": b"x = " + b"+".join([b"y"] * 100_000) + b"\n",
}


@pytest.mark.parametrize("source", BROKEN.values(), ids=BROKEN)
def test_row_44_a_source_that_does_not_compile_stays(source: bytes) -> None:
    result = promote(tree_from({"a.py": "x = 1\n", "broken.py": source, "c.py": "x = 3\n"}))
    assert set(result.after) == {"a.pyc", "broken.py", "c.pyc"}
    assert kept(result)["broken.py"].startswith("its source stays: ")


def test_row_44_a_source_that_does_not_compile_is_a_finding() -> None:
    result = promote(tree_from({"broken.py": "print 'hello'\n"}))
    found = [(f.code, f.path) for f in result.findings if f.path]
    assert found == [("bytecode-does-not-compile", "broken.py")]


def same_answer(files: Files, code: str, either: Promote, directory: Path) -> str:
    """Return what `code` prints, which must be the same before and after."""
    before = said(tree_from(files), directory / "before", code)
    assert said(either(files).after, directory / "after", code) == before
    return before


def test_row_45_the_package_wins_over_the_module(either: Promote, tmp_path: Path) -> None:
    files = {"foo.py": "x = 'module'\n", "foo/__init__.py": "x = 'package'\n"}
    assert same_answer(files, "import foo; print(foo.x)", either, tmp_path) == "package"


def test_row_46_the_module_wins_over_the_namespace(either: Promote, tmp_path: Path) -> None:
    files = {"foo.py": "x = 'module'\n", "foo/bar.py": "x = 'namespace'\n"}
    assert same_answer(files, "import foo; print(foo.x)", either, tmp_path) == "module"


def test_row_47_an_empty_init_is_promoted(either: Promote, tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "", "pkg/a.py": "x = 1\n"}
    code = "import pkg, pkg.a; print(pkg.__path__ is not None, pkg.a.x)"
    assert list(either(files).after) == ["pkg/__init__.pyc", "pkg/a.pyc"]
    assert same_answer(files, code, either, tmp_path) == "True 1"


def test_row_48_a_namespace_package_gets_no_init(either: Promote, tmp_path: Path) -> None:
    files = {"ns/one/a.py": "x = 1\n", "ns/two/__init__.py": "x = 2\n"}
    assert list(either(files).after) == ["ns/one/a.pyc", "ns/two/__init__.pyc"]
    code = "import ns.one.a, ns.two; print(ns.__spec__.loader is not None, ns.one.a.x + ns.two.x)"
    same_answer(files, code, either, tmp_path)


def test_row_49_a_package_can_be_run(either: Promote, tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "", "pkg/__main__.py": "print('ran', __name__)\n"}
    after = on_disk(either(files).after, tmp_path / "out")
    assert run(after, "-m", "pkg") == "ran __main__"


def extension() -> tuple[str, bytes]:
    """Return the module name and content of an extension module of the standard library."""
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    directory = Path(str(sysconfig.get_config_var("DESTSHARED")))
    for name in ("_heapq", "_bisect", "_random", "_struct"):
        if (place := directory / f"{name}{suffix}").is_file():
            return name, place.read_bytes()
    pytest.skip("this interpreter has no extension modules of its own")


def test_row_50_an_extension_wins_over_its_source(either: Promote, tmp_path: Path) -> None:
    name, data = extension()
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    files: Files = {"pkg/__init__.py": "", f"pkg/{name}{suffix}": data, f"pkg/{name}.py": "x = 1\n"}
    code = f"import pkg.{name} as m; print(hasattr(m, 'x'))"
    assert same_answer(files, code, either, tmp_path) == "False"


def test_row_50_a_foreign_extension_does_not(either: Promote, tmp_path: Path) -> None:
    files: Files = {"pkg/a.cpython-38-x86_64-linux-gnu.so": b"\x7fELF", "pkg/a.py": "x = 1\n"}
    assert same_answer(files, "import pkg.a; print(pkg.a.x)", either, tmp_path) == "1"


def test_row_51_scripts_stay() -> None:
    tree = tree_from({"bin/tool.py": "x = 1\n", "Scripts/tool.py": "", "gui.pyw": "", "a.pyi": ""})
    assert promote(tree).changes == ()


@pytest.mark.parametrize(
    "path",
    [
        "pkg/{{ cookiecutter.name }}/a.py",
        "pkg/my-template/a.py",
        "pkg/2fa.py",
        "pkg/a.b.py",
        "pkg/.py",
        "pkg/templates/a.py",
    ],
)
def test_row_52_what_no_import_reaches_stays(path: str) -> None:
    """It has its bytecode beside it, as installers leave it there: it may be imported after all."""
    result = promote(tree_from({"pkg/__init__.py": "", path: "x = 1\n"}))
    assert set(result.after) == {"pkg/__init__.pyc", path, cache_path(path)}
    assert "looks like data" in kept(result)[path]


def test_row_52_data_that_does_not_compile_is_no_finding() -> None:
    path = "pkg/{{ cookiecutter.name }}/a.py"
    result = promote(tree_from({path: "import {{ name }}\n"}))
    assert (list(result.after), codes(result)) == ([path], [])
    assert "looks like data" in kept(result)[path]


def test_row_52_is_an_option() -> None:
    pipeline = Pipeline((PromoteBytecode(PYTHON, importable_only=False),))
    tree = tree_from({"bin/tool.py": "x = 1\n", "pkg/a-b.py": "", "pkg/__init__.py": ""})
    assert list(pipeline.run(tree).after) == ["bin/tool.pyc", "pkg/__init__.pyc", "pkg/a-b.pyc"]


def test_row_53_a_cache_without_its_source_is_not_made_importable(either: Promote) -> None:
    orphan = cache_path("gone.py")
    result = either({orphan: pyc_of("x = 1\n", "unchecked"), "a.py": ""})
    assert list(result.after) == [orphan, "a.pyc"]


def rule_for_own_source() -> KeepRule:
    return KeepRule(
        distribution="pkg",
        versions=SpecifierSet(""),
        paths=Patterns(["/pkg/reads_itself.py"]),
        passes=("promote-bytecode",),
        reason="it reads its own source",
        evidence="https://example.com",
        checked=("1.0",),
    )


def test_row_54_a_rule_keeps_a_source_and_is_reported() -> None:
    files = {"pkg/__init__.py": "", "pkg/reads_itself.py": "open(__file__)\n"}
    tree = tree_from(dist("pkg", files=files))
    pipeline = Pipeline((PromoteBytecode(PYTHON),), knowledge=Knowledge((rule_for_own_source(),)))
    result = pipeline.run(tree)
    assert "pkg/reads_itself.py" in result.after
    reason = kept(result)["pkg/reads_itself.py"]
    assert reason == "it reads its own source (keep-rule for pkg)"


def test_row_54_a_keep_pattern_keeps_a_source() -> None:
    result = promote(tree_from({"a.py": "", "b.py": ""}), keep=("/a.py",))
    assert list(result.after) == [cache_path("a.py"), "a.py", "b.pyc"]
    assert kept(result) == {"a.py": "the keep pattern '/a.py'"}


def test_row_54_a_kept_source_has_its_bytecode_beside_it(tmp_path: Path) -> None:
    """It is loaded whatever its date, and slimming again changes nothing."""
    result = promote(tree_from(cached("a.py", "x = 1\n")), keep=("/a.py",))
    assert list(result.after) == [cache_path("a.py"), "a.py"]
    assert result.after[cache_path("a.py")].read()[4:8] == b"\1\0\0\0"
    (on_disk(result.after, tmp_path) / "a.py").write_text("x = 2\n")
    assert run(tmp_path, "-c", "import a; print(a.x)") == "1"
    steps = (PromoteBytecode(PYTHON), StripBytecode(PYTHON))
    assert Pipeline(steps, keep=("/a.py",)).run(result.after).changes == ()


@pytest.mark.parametrize("path", ["a.py", "templates/not-a-name.py"])
def test_no_cache_of_unknown_origin_is_left_for_a_source_that_stays(path: str) -> None:
    """An unchecked one would be loaded, whatever it was made from, and tells the builder's path."""
    files: Files = {path: "x = ?\n", cache_path(path): pyc_of("x = 1\n", "unchecked")}
    result = promote(tree_from(files))
    assert list(result.after) == [path]


def test_a_kept_legacy_pyc_is_not_overwritten() -> None:
    old = pyc_of("x = 1\n", "unchecked")
    result = promote(tree_from({"a.py": "x = 2\n", "a.pyc": old}), keep=("/a.pyc",))
    assert result.after["a.pyc"].read() == old
    assert "a.py" in result.after


@pytest.mark.usefixtures("no_interpreter")
def test_row_55_without_an_interpreter_nothing_is_guessed() -> None:
    result = promote(tree_from({"pkg/__init__.py": "", "pkg/a.py": "x = 1\n"}))
    assert result.changes == ()
    assert set(kept(result)) == {"pkg/__init__.py", "pkg/a.py"}
    (finding,) = [f for f in result.findings if f.code == "bytecode-no-interpreter"]
    assert f"no Python {PYTHON} was found" in finding.message
    assert "sources without bytecode: 2, with a valid cache: 0" in finding.message
    assert f"uv python install {PYTHON}" in finding.message
    assert "--interpreter" in finding.message


@pytest.mark.usefixtures("no_interpreter")
def test_row_55_bytecode_can_be_required() -> None:
    step = PromoteBytecode(PYTHON, require=True)
    result = Pipeline((step,)).run(tree_from(cached("a.py", "x = 1\n", "checked"), {"b.py": ""}))
    assert [f.severity.value for f in result.findings if f.code == "bytecode-required"] == ["error"]


@pytest.mark.usefixtures("no_interpreter")
def test_row_55_valid_caches_satisfy_the_requirement() -> None:
    step = PromoteBytecode(PYTHON, require=True)
    result = Pipeline((step,)).run(tree_from(cached("a.py", "x = 1\n", "checked")))
    assert (codes(result), list(result.after)) == ([], ["a.pyc"])


def test_row_55_another_interpreter_is_refused() -> None:
    other = "3.8" if PYTHON != "3.8" else "3.9"
    step = PromoteBytecode(other, Path(sys.executable))
    with pytest.raises(SlimError, match=f"not a released CPython {other}"):
        Pipeline((step,)).run(tree_from("a.py"))


others = pytest.mark.parametrize("version", VERSIONS, ids="{0[0]}.{0[1]}".format)


def python_of(version: tuple[int, int]) -> Path:
    if version not in find_interpreters():
        pytest.skip("no CPython {}.{} here".format(*version))
    return find_interpreters()[version]


OLD_SYNTAX = NESTED.replace("10**30", "10**30, [i for i in range(3)]")


@pytest.mark.interpreter
@others
def test_row_55_every_target_compiles_for_itself(version: tuple[int, int], tmp_path: Path) -> None:
    python = python_of(version)
    step = PromoteBytecode("{}.{}".format(*version), python)
    result = Pipeline((step,)).run(tree_from({"pkg/a.py": OLD_SYNTAX, "pkg/__init__.py": ""}))
    assert list(result.after) == ["pkg/__init__.pyc", "pkg/a.pyc"]
    directory = on_disk(result.after, tmp_path)
    code = "import pkg.a; print(pkg.a.A.f.__code__.co_filename, pkg.a.__file__[-4:])"
    assert run(directory, "-c", code, python=python) == "/var/task/pkg/a.py .pyc"


@pytest.mark.interpreter
@pytest.mark.usefixtures("no_interpreter")
@others
def test_row_55_caches_of_an_absent_target_are_promoted(
    version: tuple[int, int], tmp_path: Path
) -> None:
    python = python_of(version)
    files = tree_from({"pkg/a.py": OLD_SYNTAX, "pkg/__init__.py": ""})
    source = on_disk(files, tmp_path / "in")
    run(source, "-m", "compileall", "-q", "pkg", python=python)
    result = Pipeline((PromoteBytecode("{}.{}".format(*version)),)).run(scan(source))
    assert list(result.after) == ["pkg/__init__.pyc", "pkg/a.pyc"]
    assert all(b"/in/" not in entry.read() for entry in result.after.values())
    code = "import pkg.a; print(pkg.a.A.f.__code__.co_filename)"
    directory = on_disk(result.after, tmp_path / "out")
    assert run(directory, "-c", code, python=python) == "/var/task/pkg/a.py"


def test_row_56_pth_files_stay() -> None:
    assert promote(tree_from({"a.pth": "import b\n", "pkg.egg-link": ""})).changes == ()


# Sources as they come.

ENCODED: dict[str, tuple[bytes, str]] = {
    "utf-8": ("x = 'é'\n".encode(), "é"),
    "bom": (b"\xef\xbb\xbfx = '\xc3\xa9'\n", "é"),
    "latin-1": (b"# -*- coding: latin-1 -*-\nx = '\xe9'\n", "é"),
    "cookie-in-line-2": (b"#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\nx = '\x80'\n", "€"),
    "crlf": (b'x = """a\r\nb"""\r\n', "a\nb"),
    "cr": (b"y = 1\rx = 'a'\r", "a"),
    "form-feed": (b"\x0cx = 'a'\n", "a"),
    "no-newline": (b"x = 'a'", "a"),
    "surrogate": (b"x = '\\udc80'\n", "\udc80"),
}


@pytest.mark.parametrize(("source", "x"), ENCODED.values(), ids=ENCODED)
def test_a_source_means_what_it_did(source: bytes, x: str, either: Promote) -> None:
    pyc = either({"a.py": source}).after["a.pyc"].read()
    assert values(pyc)["x"] == x
    assert pyc[8:16] == importlib.util.source_hash(source)


def test_names_outside_ascii(either: Promote, tmp_path: Path) -> None:
    files = {"größe.py": "x = 1\n"}
    assert code_of(either(files).after["größe.pyc"].read()).co_filename == "/var/task/größe.py"
    assert same_answer(files, "import größe; print(größe.x)", either, tmp_path) == "1"


def test_future_imports_do_not_leak() -> None:
    files = {"a.py": "from __future__ import annotations\n", "b.py": "x: print('e')\n"}
    after = promote(tree_from(files)).after
    flags = [code_of(entry.read()).co_flags for entry in after.values()]
    assert flags[1] == compile(files["b.py"], "b", "exec", dont_inherit=True).co_flags


def test_warnings_of_the_compiler_do_not_matter() -> None:
    result = promote(tree_from({"a.py": "x = '\\d'\ny = 1 is 1\n"}))
    assert list(result.after) == ["a.pyc"]


def test_nothing_to_promote() -> None:
    result = promote(tree_from("data.txt"))
    assert (result.changes, result.kept) == ((), ())


def test_promoting_twice_changes_nothing(either: Promote) -> None:
    once = either({"pkg/a.py": NESTED, "pkg/__init__.py": "", "bin/x.py": ""}).after
    again = promote(once)
    assert (again.changes, again.after) == ((), once)


def test_tests_can_be_stripped_afterwards() -> None:
    files = dict.fromkeys(("pkg/__init__.py", "pkg/tests/__init__.py", "pkg/tests/data.txt"), "")
    pipeline = Pipeline((PromoteBytecode(PYTHON), StripTests()))
    after = pipeline.run(tree_from(dist("pkg", files=files))).after
    assert after.under("pkg") == ("pkg/__init__.pyc",)


def test_a_malformed_version_is_refused() -> None:
    with pytest.raises(SlimError, match="write it like"):
        PromoteBytecode("three")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "both"}, "both: is no way to ship bytecode; choose one of legacy, cached, none"),
        ({"optimize": 3}, "3: is no level of optimisation"),
        ({"optimize": True}, "True: is no level of optimisation"),
        ({"root": "var/task"}, "var/task: is no absolute path"),
        ({"root": "/var/\x1btask"}, r"is no absolute path"),
        ({"mode": "none", "require": True}, "bytecode is required, and asked to be left out"),
    ],
)
def test_other_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        PromoteBytecode(PYTHON, **options)


# Other ways to ship bytecode.


def cached_mode(optimize: Level = 0) -> Pipeline:
    return Pipeline((PromoteBytecode(PYTHON, mode="cached", optimize=optimize),))


FILES = {"pkg/__init__.py": "", "pkg/a.py": NESTED, "bin/tool.py": "x = 1\n", "d.txt": ""}


def test_cached_mode_puts_bytecode_beside_its_source() -> None:
    result = cached_mode().run(tree_from(FILES))
    added = [cache_path("pkg/__init__.py"), cache_path("pkg/a.py")]
    assert set(result.after) == {*FILES, *added}
    assert [(c.path, c.new_path, c.before, c.added) for c in result.changes] == [
        (path, path, 0, True) for path in added
    ]
    assert result.saved == sum(change.saved for change in result.changes) < 0
    legacy = promote(tree_from(FILES)).after
    assert result.after[cache_path("pkg/a.py")].read() == legacy["pkg/a.pyc"].read()


def test_cached_mode_replaces_what_a_date_makes_stale(tmp_path: Path) -> None:
    tree = scan(on_disk(tree_from(cached("a.py", "x = 1\n", "timestamp")), tmp_path))
    (change,) = cached_mode().run(tree).changes
    assert (change.path, change.new_path, change.added) == (*[cache_path("a.py")] * 2, False)


def test_cached_mode_twice_changes_nothing() -> None:
    once = cached_mode().run(tree_from(FILES)).after
    assert cached_mode().run(once).changes == ()


def test_cached_mode_compiles_what_a_rule_keeps() -> None:
    files = {"pkg/__init__.py": "", "pkg/reads_itself.py": "open(__file__)\n"}
    step = PromoteBytecode(PYTHON, mode="cached")
    knowledge = Knowledge((rule_for_own_source(),))
    result = Pipeline((step,), knowledge=knowledge).run(tree_from(dist("pkg", files=files)))
    assert cache_path("pkg/reads_itself.py") in result.after


def test_cached_bytecode_is_loaded_whatever_the_dates(tmp_path: Path) -> None:
    tree = cached_mode().run(tree_from({"a.py": "x = 1\n"})).after
    place = on_disk(Tree([*tree.values()]), tmp_path, mtime=1)
    (place / "a.py").write_text("x = 2\n")
    assert run(place, "-c", "import a; print(a.x, a.__file__[-4:])") == "1 a.py"


def test_cached_bytecode_survives_strip_bytecode(tmp_path: Path) -> None:
    files: Files = {**FILES, cache_path("bin/tool.py"): pyc_of("x = 1\n"), cache_path("no.py"): b""}
    tree = scan(on_disk(tree_from(files), tmp_path))
    steps = (PromoteBytecode(PYTHON, mode="cached"), StripBytecode(PYTHON))
    result = Pipeline(steps).run(tree)
    assert set(result.after) == {*FILES, cache_path("pkg/__init__.py"), cache_path("pkg/a.py")}
    assert Pipeline(steps).run(result.after).changes == ()


@pytest.mark.usefixtures("no_interpreter")
def test_cached_mode_without_an_interpreter_takes_valid_caches(tmp_path: Path) -> None:
    files = {**cached("a.py", "x = 1\n", "timestamp"), "b.py": "y = 1\n"}
    result = cached_mode().run(scan(on_disk(tree_from(files), tmp_path)))
    assert set(result.after) == {"a.py", "b.py", cache_path("a.py")}
    assert result.after[cache_path("a.py")].read()[4:8] == b"\1\0\0\0"
    assert kept(result)["b.py"].startswith("it has no bytecode beside it: no bytecode of python")
    assert codes(result) == ["bytecode-no-interpreter"]


def test_none_does_nothing() -> None:
    result = Pipeline((PromoteBytecode(PYTHON, mode="none"),)).run(tree_from(FILES))
    assert (result.changes, result.kept) == ((), ())


OPTIMISED = "def f():\n    'Doc.'\n    assert False\n"


@pytest.mark.parametrize(("optimize", "doc"), [(1, "Doc."), (2, None)])
def test_optimisation_is_explicit(optimize: Level, doc: str | None) -> None:
    step = PromoteBytecode(PYTHON, optimize=optimize)
    pyc = Pipeline((step,)).run(tree_from({"a.py": OPTIMISED})).after["a.pyc"].read()
    f = values(pyc)["f"]
    assert callable(f)
    assert f() is None
    assert f.__doc__ == doc


@pytest.mark.parametrize("hazards", [True, False])
def test_docstrings_that_code_uses_stay(hazards: bool) -> None:  # noqa: FBT001 - a parameter
    """Those of the distribution whose code uses any, and of importers of it or of its package."""
    files = dist(
        "a", files={"a/__init__.py": OPTIMISED, "a/b.py": "def g(f): return f.__doc__ % 1\n"}
    )
    others = dist(
        "b", files={"b/__init__.py": OPTIMISED, "b/c.py": f"def g():\n    import a.b\n{OPTIMISED}"}
    )
    third = dist("c", files={"c/__init__.py": f"def g():\n    import a\n{OPTIMISED}"})
    pipeline = Pipeline((PromoteBytecode(PYTHON, optimize=2),), hazards=hazards)
    result = pipeline.run(tree_from(files, others, third))
    documented = {
        path
        for path in ("a/__init__.pyc", "b/__init__.pyc", "b/c.pyc", "c/__init__.pyc")
        if getattr(values(result.after[path].read()).get("f"), "__doc__", None)
    }
    assert documented == ({"a/__init__.pyc", "b/c.pyc", "c/__init__.pyc"} if hazards else set())


def test_optimised_bytecode_beside_a_source_has_the_plain_name() -> None:
    """Lambda runs without -O, so it looks for no other."""
    result = cached_mode(optimize=2).run(tree_from({"a.py": OPTIMISED}))
    assert list(result.after) == [cache_path("a.py"), "a.py"]


@pytest.mark.usefixtures("no_interpreter")
def test_optimised_bytecode_is_never_taken_from_a_cache() -> None:
    step = PromoteBytecode(PYTHON, optimize=1)
    result = Pipeline((step,)).run(tree_from(cached("a.py", "x = 1\n", "checked")))
    assert list(result.after) == ["a.py"]
    assert "never taken from a cache" in kept(result)["a.py"]


# Workers that crash.

CRASHING = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("worker", {original!r})
worker = importlib.util.module_from_spec(spec)
spec.loader.exec_module(worker)
real = worker.pyc
def pyc(name, source, **options):
    if b"EXIT" in source:
        os._exit(3)
    if b"RAISE" in source:
        raise SystemError("of the compiler")
    if b"HALF" in source:
        sys.stdout.buffer.write(b"\\x01\\xff\\xff\\0\\0half an answer")
        sys.stdout.flush()
        os._exit(3)
    if b"GARBAGE" in source:
        return b"no bytecode at all"
    return real(name, source, **options)
worker.pyc = pyc
worker.main()
"""


@pytest.fixture
def crashing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put a worker in place that crashes on some words."""
    script = tmp_path / "crashing_worker.py"
    script.write_text(CRASHING.format(original=str(bytecode._WORKER)), encoding="utf-8")
    monkeypatch.setattr(bytecode, "_WORKER", script)


def running() -> Interpreter:
    found = ask(sys.executable)
    assert found is not None
    return found


@pytest.mark.usefixtures("crashing")
@pytest.mark.parametrize("word", ["EXIT", "RAISE", "HALF"])
@pytest.mark.parametrize("place", [0, 2, 4])
def test_a_crash_keeps_that_source_only(word: str, place: int) -> None:
    texts = {f"m{n}.py": f"x = '{word}'\n" if n == place else f"x = {n}\n" for n in range(5)}
    result = promote(tree_from(texts))
    assert kept(result) == {
        f"m{place}.py": "its source stays: the compiler crashed on this source, twice"
    }
    assert set(result.after) == {f"m{n}.py{'' if n == place else 'c'}" for n in range(5)}


@pytest.mark.usefixtures("crashing")
@pytest.mark.parametrize("workers", [1, 3])
def test_crashes_on_most_sources_keep_those(workers: int) -> None:
    words = ["EXIT", "", "RAISE", "HALF", "", "EXIT", "EXIT"]
    sources = [Source(f"m{n}.py", f"x = '{word}'\n".encode()) for n, word in enumerate(words)]
    answers = compile_all(sources, running(), workers=workers)
    compiled = {path for path, answer in answers.items() if answer.pyc}
    assert compiled == {"m1.py", "m4.py"}
    assert len(answers) == len(words)


@pytest.mark.usefixtures("crashing")
def test_a_crash_is_reported_and_counts_against_a_requirement() -> None:
    tree = tree_from({"a.py": "x = 'EXIT'\n"})
    assert codes(promote(tree)) == ["bytecode-crashed"]
    required = Pipeline((PromoteBytecode(PYTHON, require=True),)).run(tree)
    assert codes(required) == ["bytecode-required"]


def wrapped(tmp_path: Path, script: str) -> Interpreter:
    """Return the running interpreter behind a shell script, which may do something else first."""
    place = tmp_path / "python"
    place.write_text(f"#!/bin/sh\n{script}\nexec '{sys.executable}' \"$@\"\n")
    place.chmod(0o755)
    own = running()
    return Interpreter(place, own.python, own.version, own.magic)


@posix_only
def test_a_process_that_dies_by_chance_changes_nothing(tmp_path: Path) -> None:
    """As one does for which the machine had no memory left."""
    mark = tmp_path / "mark"
    unlucky = wrapped(tmp_path, f"[ -e {mark} ] || {{ touch {mark}; exit 137; }}")
    texts = [Source(f"m{n}.py", b"x = 1\n") for n in range(5)]
    assert compile_all(texts, unlucky, workers=1) == compile_all(texts, running(), workers=1)
    assert mark.exists()


@posix_only
def test_an_interpreter_that_compiles_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BytecodeError, match="ends or hangs instead of compiling"):
        compile_all([Source("a.py", b"")], wrapped(tmp_path, "exit 3"))


@posix_only
def test_an_interpreter_that_hangs_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bytecode, "_PATIENCE", 0.2)
    with pytest.raises(BytecodeError, match="ends or hangs instead of compiling"):
        compile_all([Source("a.py", b"")], wrapped(tmp_path, "exec sleep 1000"))


@pytest.mark.usefixtures("crashing")
def test_what_is_no_bytecode_is_refused() -> None:
    with pytest.raises(BytecodeError, match="answered something that is no unchecked-hash pyc"):
        promote(tree_from({"a.py": "'GARBAGE'\n"}))


def test_an_interpreter_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    gone = Interpreter(tmp_path / "python", (3, 13), "3.13.0", 3571)
    with pytest.raises(BytecodeError, match="cannot be run"):
        compile_all([Source("a.py", b"")], gone)


# The same bytes, whatever happened before and around.


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    """Return sources of the standard library, and some with sets of texts."""
    directory = Path(sysconfig.get_path("stdlib"))
    files = sorted(directory.glob("[a-e]*.py"))[:40] + sorted(directory.glob("json/*.py"))
    found = [Source(path.relative_to(directory).as_posix(), path.read_bytes()) for path in files]
    sets = b"def f(x):\n    return x in {'one', 'two', 'three', 'four', b'five', 6, None}\n"
    return [*found, Source("sets.py", sets), Source("again.py", sets)]


@pytest.fixture(scope="module")
def reference(sources: list[Source]) -> dict[str, bytes]:
    return pycs(sources, workers=1)


def pycs(sources: list[Source], workers: int) -> dict[str, bytes]:
    answers = compile_all(sources, running(), workers=workers)
    return {path: answer.pyc for path, answer in answers.items() if answer.pyc}


def test_the_reference_is_complete(sources: list[Source], reference: dict[str, bytes]) -> None:
    assert {source.path for source in sources} == set(reference)


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_hash_seed_does_not_matter(
    seed: str, sources: list[Source], reference: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", seed)
    assert pycs(sources, workers=1) == reference


@pytest.mark.parametrize("workers", [2, 5, 64])
def test_number_of_workers_does_not_matter(
    workers: int, sources: list[Source], reference: dict[str, bytes]
) -> None:
    assert pycs(sources, workers) == reference


@pytest.mark.parametrize("seed", [1, 2])
def test_order_of_sources_does_not_matter(
    seed: int, sources: list[Source], reference: dict[str, bytes]
) -> None:
    shuffled = list(sources)
    random.Random(seed).shuffle(shuffled)  # noqa: S311 - no secret
    assert pycs(shuffled, workers=1) == reference


def test_compiling_alone_gives_the_same(sources: list[Source], reference: dict[str, bytes]) -> None:
    for source in [sources[0], *sources[-2:]]:
        assert pycs([source], workers=1) == {source.path: reference[source.path]}


def test_place_and_date_of_the_sources_do_not_matter(tmp_path: Path) -> None:
    tree = tree_from(cached("pkg/a.py", NESTED))
    here = promote(scan(on_disk(tree, tmp_path / "here"))).after
    there = promote(scan(on_disk(tree, tmp_path / "there/deep", mtime=1))).after
    assert here.digest() == there.digest()


@pytest.mark.usefixtures("no_interpreter")
def test_place_and_date_of_caches_do_not_matter(tmp_path: Path) -> None:
    digests = set()
    for place, mtime in (("/home/a", MTIME), ("/a/much/longer/place", MTIME + 7)):
        cache = pyc_of(NESTED, name=f"{place}/pkg/a.py", mtime=mtime)
        tree = tree_from({"pkg/a.py": NESTED, cache_path("pkg/a.py"): cache})
        after = promote(scan(on_disk(tree, tmp_path / str(mtime), mtime))).after
        assert list(after) == ["pkg/a.pyc"]
        digests.add(after.digest())
    assert len(digests) == 1
