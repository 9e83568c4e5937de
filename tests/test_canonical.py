"""One source gives one spelling, and that is the code which the compiler gives."""

from __future__ import annotations

import hashlib
import json
import marshal
import random
import struct
import subprocess
import sys
from pathlib import Path
from types import CodeType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lambdaslim
from disk import environment
from interpreters import find_interpreters
from lambdaslim import pyc, spelling
from lambdaslim.bytecode import Source, compile_all
from lambdaslim.canonical import MalformedError, canonical, without_columns
from lambdaslim.interpreters import Interpreter, ask
from vendored import Vendor

RUNNING = sys.version_info[:2]
MAGICS = {version: magic for magic, version in pyc.VERSIONS.items()}
# Pure Python, whose sources every version from 3.9 to 3.15 compiles.
CORPUS = ("sympy==1.13.3", "mpmath==1.3.0", "networkx==3.2.1")
VERSIONS = [(3, minor) for minor in range(9, 16)]
pythons = pytest.mark.parametrize("python", VERSIONS, ids="{0[0]}.{0[1]}".format, indirect=True)


@pytest.fixture
def python(request: pytest.FixtureRequest) -> Interpreter:
    version: tuple[int, int] = request.param
    if version not in find_interpreters():
        pytest.skip("no CPython {}.{} on this machine".format(*version))
    found = ask(str(find_interpreters()[version]))
    assert found is not None
    return found


def corpus(vendored: Vendor) -> list[Source]:
    place = vendored(*CORPUS)
    paths = sorted(path for path in place.rglob("*.py") if "/tests/" not in path.as_posix())
    assert len(paths) >= 1000
    return [Source(path.relative_to(place).as_posix(), path.read_bytes()) for path in paths]


def compiled(sources: list[Source], python: Interpreter, workers: int) -> dict[str, bytes]:
    answers = compile_all(sources, python, workers=workers)
    return {path: answer.pyc for path, answer in answers.items() if answer.pyc is not None}


# Runs in the target: imports every module of a directory, and says what came of each.
IMPORT_ALL = """
import importlib, json, sys, warnings
warnings.simplefilter("ignore")
sys.path.insert(0, sys.argv[1])
found = {}
for name in json.load(sys.stdin):
    try:
        module = importlib.import_module(name)
    except BaseException as error:
        found[name] = type(error).__name__
    else:
        found[name] = sorted(key for key in vars(module) if not key.startswith("__"))
print("\\n" + json.dumps(found))
"""
# Runs in the target: its own word on a directory of pycs, and what compileall makes of sources.
JUDGE = """
import importlib._bootstrap_external as external, importlib.util, json, marshal, os, sys
flags = set()
plain = 0
for path, source in json.load(sys.stdin):
    data = open(os.path.join(sys.argv[1], path + "c"), "rb").read()
    text = open(os.path.join(sys.argv[2], path), "rb").read()
    flags.add(external._classify_pyc(data, path, {}))
    external._validate_hash_pyc(data, importlib.util.source_hash(text), path, {})
    code = compile(text, "/var/task/" + path, "exec", dont_inherit=True, optimize=0)
    assert marshal.loads(data[16:]) == code, path
    plain += 16 + len(marshal.dumps(code))
print(json.dumps([sorted(flags), plain]))
"""
# Runs in the target: the files of both spellings, loaded by path as the compiling worker does, and
# sources on stdin, which both spell.
BOTH = """
import json, marshal, runpy, sys
sys.setrecursionlimit(8000)
spelling = runpy.run_path(sys.argv[1] + "/spelling.py")
canonical = runpy.run_path(sys.argv[1] + "/canonical.py")["canonical"]
quick = total = 0
for path, text in json.load(sys.stdin):
    if text is None:
        text = open(path, "rb").read()
    code = compile(text, "/var/task/x.py", "exec", dont_inherit=True)
    expected = canonical(marshal.dumps(code), sys.version_info[:2])
    total += len(expected)
    try:
        assert spelling["spelled"](code) == expected, path
        quick += len(expected)
    except spelling["UnknownCodeError"]:
        pass
print(json.dumps([quick, total]))
"""
# Another host: only lambdaslim's own modules, from a directory.
HOST = """
import hashlib, json, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lambdaslim.bytecode import Source, compile_all
from lambdaslim.interpreters import ask
place = Path(sys.argv[3])
sources = [Source(path, (place / path).read_bytes()) for path in json.load(sys.stdin)]
answers = compile_all(sources, ask(sys.argv[2]), workers=2)
print(json.dumps({p: hashlib.sha256(a.pyc or b"").hexdigest() for p, a in answers.items()}))
"""


def run(python: Path | str, script: str, *arguments: object, given: object) -> Any:  # noqa: ANN401
    done = subprocess.run(
        [
            str(python),
            "-I",
            "-S",
            "-B",
            "-X",
            "no_debug_ranges",
            "-c",
            script,
            *map(str, arguments),
        ],
        input=json.dumps(given),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # imported modules may print, too


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.interpreter
@pythons
def test_a_real_tree_gives_the_same_bytes_and_works(
    python: Interpreter, vendored: Vendor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order, the processes, the hash seed and the host."""
    sources = corpus(vendored)
    first = compiled(sources, python, workers=1)
    assert set(first) == {source.path for source in sources}
    monkeypatch.setenv("PYTHONHASHSEED", "4711")
    shuffled = random.Random(1).sample(sources, len(sources))  # noqa: S311 - no secret
    assert compiled(shuffled, python, workers=3) == first
    place = vendored(*CORPUS)
    for version, host in find_interpreters().items():
        if version in ((3, 12), (3, 13)) and version != RUNNING:
            code = Path(lambdaslim.__file__).parent.parent
            paths = [source.path for source in sources[::10]]
            theirs = run(host, HOST, code, python.executable, place, given=paths)
            ours = {path: _sha256(first[path]) for path in paths}
            assert theirs == ours
    for path, data in first.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{path}c").write_bytes(data)
    judged, plain = run(
        python.executable, JUDGE, tmp_path, place, given=[[path, ""] for path in first]
    )
    assert judged == [0b01]
    total = sum(map(len, first.values()))
    sys.stdout.write(f"{python.version}: compiler {plain:,} bytes, canonical {total:,}\n")
    assert total < plain
    names = sorted(_module(path) for path in first)
    after = run(python.executable, IMPORT_ALL, tmp_path, given=names)
    assert after == run(python.executable, IMPORT_ALL, place, given=names)
    imported = sum(isinstance(outcome, list) for outcome in after.values())
    assert imported > 0.9 * len(names)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.interpreter
@pythons
def test_an_independent_reader_agrees(python: Interpreter, tmp_path: Path) -> None:
    """The header, field by field, and that the code object is the compiler's."""
    source = NESTED.encode()
    (tmp_path / "a.py").write_bytes(source)
    data = compiled([Source("a.py", source)], python, 1)["a.py"]
    (tmp_path / "a.pyc").write_bytes(data)
    magic, crlf, flags = struct.unpack_from("<H2sI", data)
    assert (magic, crlf, flags) == (MAGICS[python.python], b"\r\n", 1)
    assert data[8:16] == pyc.source_hash(source, magic)
    assert run(python.executable, JUDGE, tmp_path, tmp_path, given=[["a.py", ""]])[0] == [1]


NESTED = """\
'''A docstring of more than one word.'''
class A:
    x: int = 1_000_000_007
    def f(self, *names, key=(1, "two words", b"three", 4.0, -0.0, 5j)):
        return [lambda x=name: x in {"a", None, (1, ...), "b"} for name in names], 1_000_000_007
async def g(größe):
    yield "two words", 2.5, (1, (2, b"bytes")), 10**30, -5, 256, 257, True, 1, 1.0, größe[1:2]
s = "\\udc80", "", b"", (), "é", "x" * 2
"""


@pytest.mark.interpreter
@pythons
@pytest.mark.parametrize("mode", ["timestamp", "checked-hash", "unchecked-hash"])
def test_a_cache_gives_what_compiling_gives(python: Interpreter, mode: str, tmp_path: Path) -> None:
    files = {"a.py": NESTED.encode(), "pyc.py": Path(pyc.__file__).read_bytes()}
    if python.python < (3, 10):
        files["pyc.py"] = b"x = {1, 2}\ndef f(y): return y in {None, 'a', 'b', (3, None)}\n"
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [str(python.executable), "-m", "compileall", "-q", "--invalidation-mode", mode, "."]
    subprocess.run(command, cwd=tmp_path, env=environment(), check=True)
    expected = compiled([Source(name, data) for name, data in files.items()], python, 1)
    tag = "cpython-{}{}".format(*python.python)
    magic = MAGICS[python.python]
    for name, data in files.items():
        cache = tmp_path / "__pycache__" / f"{name.removesuffix('.py')}.{tag}.pyc"
        made = pyc.canonicalise(cache.read_bytes(), data, magic, f"/var/task/{name}")
        assert made == expected[name], name


@pytest.mark.interpreter
@pythons
def test_the_order_of_hashes_does_not_matter(python: Interpreter) -> None:
    """The hash of None is an address before 3.12, and those of strings depend on the seed."""
    source = Source(
        "a.py", b"def f(x):\n    return x in {None, 'a', 'b', 'c', b'd', (1, None), ...}\n"
    )
    assert len({compiled([source], python, 1)["a.py"] for _ in range(6)}) == 1


@pytest.mark.network
@pytest.mark.interpreter
@pythons
def test_both_spellings_are_one(python: Interpreter, vendored: Vendor) -> None:
    """The quick one gives up on little, and only from 3.14 on."""
    place = vendored(*CORPUS)
    code = Path(lambdaslim.__file__).parent
    paths = [str(place / source.path) for source in corpus(vendored)[::9]]
    given = [[path, None] for path in paths]
    quick, total = run(python.executable, BOTH, code, given=given)
    assert quick > 0.9 * total
    assert quick == total or python.python >= (3, 14)


@pytest.mark.interpreter
@pythons
@pytest.mark.parametrize("case", ["UNUSUAL", "HIDING"])
def test_unusual_code_is_spelled_alike(python: Interpreter, case: str) -> None:
    if case == "HIDING" and python.python < (3, 12):
        pytest.skip("a syntax of 3.12")
    code = Path(lambdaslim.__file__).parent
    cases = {"UNUSUAL": UNUSUAL, "HIDING": HIDING}
    quick, total = run(python.executable, BOTH, code, given=[[case, cases[case]]])
    assert quick == total


UNUSUAL = f"""\
def many(a, /, b, c=(1, True, 1.0, (1,), (True,)), *rest, d, e=-0.0, **names):
    def inner():
        nonlocal b
        return a, b, d, rest, names, __class__
    return inner, 1e300, float("nan"), 10**400, -(2**31), 2**31, 1j, -0.0, 0.0, 1, True, b"", ""
class A:
    def f(self):
        return super().f(), (1, 2), (1.0, 2), (True, 2), "A.f", "f", "A.f.<locals>.<lambda>"
    def g(self, ünïcode):
        return ünïcode, "ünïcode", "\\udc80", "{"x" * 300}", "{"é" * 300}", b"A.f", ((), ((),))
long = ({", ".join(map(str, range(300)))})
strings = ({", ".join(repr(str(n)) for n in range(300))})
def h(x): return x in {{1, "a", (1, None)}} or x in {{1.0, "a", (True, None)}} or x in {{1, "a"}}
print([lambda: (i, j) for i in range(3) for j in "abc"], {{k: v for k, v in [(1, 2)]}})
"""
HIDING = """\
import typing
class B[T: (int, str)](list[T]):
    names = [lambda: (name, T) for name in "abc"]
    plain = [name for name in "abc"]
    type Alias[*Ts, **P] = list[T]
    def f[K](self, key: K = None, *, other: T) -> K: return super().f(key)
type Alias[*Ts, **P] = list[[one for one in Ts]]
shown = [lambda: element for element in "abc"]
"""


def spelled(source: str, name: str = "/x.py") -> bytes:
    code = compile(source, name, "exec", dont_inherit=True)
    return canonical(marshal.dumps(code), RUNNING)


def loaded(source: str) -> CodeType:
    code = marshal.loads(spelled(source))  # noqa: S302 - made above
    assert isinstance(code, CodeType)
    return code


def test_spelling_twice_changes_nothing() -> None:
    once = spelled(NESTED)
    assert canonical(once, RUNNING) == once
    again = marshal.dumps(marshal.loads(once))  # noqa: S302 - made above
    assert canonical(again, RUNNING) == once


@pytest.mark.parametrize("version", [3, 4])
def test_older_formats_have_the_same_spelling(version: int) -> None:
    code = compile(NESTED.replace("größe[1:2]", "1"), "/x.py", "exec", dont_inherit=True)
    expected = canonical(marshal.dumps(code), RUNNING)
    assert canonical(marshal.dumps(code, version), RUNNING) == expected


@pytest.mark.parametrize("constant", ["'two words'", "'--'", "1_000_000_007", "(1, 'x y')", "2.5"])
def test_constants_that_were_one_object_still_are(constant: str) -> None:
    space: dict[str, Any] = {}
    exec(loaded(f"def f(): return {constant}\ndef g(): return {constant}\n"), space)  # noqa: S102
    assert space["f"]() is space["g"]()


def test_equal_functions_are_still_two() -> None:
    code = loaded("x = (lambda: 0), (lambda: 0)\n")
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    assert len(inner) == 2
    assert inner[0] is not inner[1]


def test_types_and_signs_are_kept() -> None:
    space: dict[str, Any] = {}
    exec(loaded("x = [1, 1.0, True, 0.0, -0.0, 1j, '1', b'1', None, ...]\n"), space)  # noqa: S102
    assert repr(space["x"]) == "[1, 1.0, True, 0.0, -0.0, 1j, '1', b'1', None, Ellipsis]"


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.text("ab_", max_size=300),
)
constants = st.recursive(scalars, lambda inner: st.tuples(inner, inner) | st.tuples(inner))


@given(st.lists(constants, max_size=5))
def test_any_constants_survive(values: list[object]) -> None:
    source = "".join(f"def f{n}(): return {value!r}\n" for n, value in enumerate(values))
    code = compile(source, "/x.py", "exec", dont_inherit=True)
    assert spelling.spelled(code) == spelled(source)
    space: dict[str, Any] = {}
    exec(loaded(source), space)  # noqa: S102 - literals
    assert repr([space[f"f{n}"]() for n in range(len(values))]) == repr(values)
    body = marshal.dumps(compile(source, "/x.py", "exec", dont_inherit=True))
    assert len(spelled(source)) <= len(body)


def test_columns_go_and_lines_stay() -> None:
    code = compile(NESTED, "/x.py", "exec", dont_inherit=True)
    table = without_columns(code.co_linetable)
    bare = code.replace(co_linetable=table)
    assert list(bare.co_lines()) == list(code.co_lines())
    assert {position[2] for position in bare.co_positions()} == {None}
    assert without_columns(table) == table


@pytest.mark.parametrize("body", [b"", b"N", b"i\0\0\0\0", b"c", b"\xe3" + bytes(40), b"r\0\0\0\0"])
def test_what_is_no_code_object_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedError):
        canonical(body, RUNNING)
