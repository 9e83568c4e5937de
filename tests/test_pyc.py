from __future__ import annotations

import importlib.util
import json
import marshal
import random
import re
import struct
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interpreters import VERSIONS, find_interpreters
from lambdaslim import pyc, runtimes
from lambdaslim.errors import BytecodeError

HOST = int.from_bytes(importlib.util.MAGIC_NUMBER[:2], "little")
MAGICS = {version: magic for magic, version in pyc.VERSIONS.items()}
NAME = "/var/task/pkg/module.py"

# Runs in the other interpreters, so it is written for 3.8 and imports nothing of ours.
SCRIPT = r"""
import importlib, importlib.util, itertools, json, marshal, py_compile, random, sys, sysconfig
from pathlib import Path

MODES = list(py_compile.PycInvalidationMode)

def compile_stdlib(directory, count):
    "Compile some modules of this interpreter into N.pyc; write where their sources are."
    everything = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    sources = [p for p in everything if "site-packages" not in p.parts and p.is_file()]
    random.Random(0).shuffle(sources)
    done = []
    for path in sources:
        if len(done) == int(count):
            break
        target = directory / f"{len(done)}.pyc"
        mode, optimize = MODES[len(done) % len(MODES)], len(done) % 4 - 1
        try:
            py_compile.compile(
                str(path), str(target), doraise=True, optimize=optimize, invalidation_mode=mode
            )
        except (py_compile.PyCompileError, ValueError, RecursionError):
            continue
        done.append(str(path))
    (directory / "sources.json").write_text(json.dumps(done))

def compile_one(path, target):
    py_compile.compile(str(path), str(target), doraise=True)

def compile_shared(directory):
    "Write code whose file name shares references with constants and names, in all places."
    source = directory / "source.py"
    source.write_text("def f(a):\n    def g(): return a, 'x', 1.5, {1} | {2}\n    return g\n")
    names = ["/x/y.py", "name", "/\u00e9.py", "/" + "x" * 300 + ".py", "/" + "\u00e9" * 300]
    done = []
    for name, where, version in itertools.product(names, range(16), (2, marshal.version)):
        code = share(compile(source.read_bytes(), name, "exec", dont_inherit=True), where)
        header = importlib.util.MAGIC_NUMBER + bytes(12)
        (directory / f"{len(done)}.pyc").write_bytes(header + marshal.dumps(code, version))
        done.append(str(source))
    (directory / "sources.json").write_text(json.dumps(done))

def share(code, where):
    "Put the very object that is the file name into other slots, chosen by the bits of `where`."
    name = code.co_filename
    inner = tuple(share(c, where) if hasattr(c, "co_code") else c for c in code.co_consts)
    before, after = (name,) * (where & 1), ((name, (name,)),) * (where >> 1 & 1)
    code = code.replace(co_consts=before + inner + after, co_filename=name)
    if where & 4:
        code = code.replace(co_name=name)
    return code.replace(co_names=code.co_names + (name,)) if where & 8 else code

def compare(directory, name):
    "Check that N.new is N.pyc in everything but file names."
    for number, path in enumerate(json.loads((directory / "sources.json").read_text())):
        old = (directory / f"{number}.pyc").read_bytes()
        new = (directory / f"{number}.new").read_bytes()
        head = importlib.util.MAGIC_NUMBER + b"\1\0\0\0"
        head += importlib.util.source_hash(Path(path).read_bytes())
        assert new[:16] == head, (path, new[:16], head)
        same(marshal.loads(old[16:]), marshal.loads(new[16:]), json.loads(name), path)
    print("same", number + 1)

OTHER = {"co_filename"} | ({"co_linetable", "co_lnotab"} if sys.version_info >= (3, 11) else set())

def same(old, new, name, where):
    assert type(old) is type(new), (where, old, new)
    if hasattr(old, "co_code"):
        assert new.co_filename == name, (where, new.co_filename)
        for slot in dir(old):
            value = getattr(old, slot)
            if slot.startswith("co_") and slot not in OTHER and not callable(value):
                same(value, getattr(new, slot), name, where + "." + slot)
        if hasattr(old, "co_lines"):
            assert list(old.co_lines()) == list(new.co_lines()), where
        if hasattr(old, "co_positions"):
            lines = [position[0] for position in old.co_positions()]
            assert lines == [position[0] for position in new.co_positions()], where
            columns = {column for position in new.co_positions() for column in position[2:]}
            assert columns <= {None}, (where, columns)
    elif isinstance(old, tuple):
        assert len(old) == len(new), (where, old, new)
        for one, other in zip(old, new):
            same(one, other, name, where)
    elif isinstance(old, frozenset):
        assert sorted(map(repr, old)) == sorted(map(repr, new)), (where, old, new)
    else:
        assert repr(old) == repr(new), (where, old, new)

def hashes():
    "Answer lines of hexadecimal with the hash of those bytes."
    for line in sys.stdin:
        print(importlib.util.source_hash(bytes.fromhex(line)).hex(), flush=True)

def import_all(directory, names):
    sys.path.insert(0, str(directory))
    for name in json.loads(names):
        module = importlib.import_module(name)
        files = {
            value.__code__.co_filename
            for value in vars(module).values()
            if hasattr(value, "__code__") and value.__module__ == name
        }
        assert files == {f"/var/task/{name}.py"}, (name, files)
        assert module.__file__.endswith(name + ".pyc"), module.__file__
    print("imported")

task, *arguments = sys.argv[1:]
globals()[task](*[Path(a) if Path(a).is_absolute() else a for a in arguments])
"""

pythons = pytest.mark.parametrize("python", VERSIONS, ids="{0[0]}.{0[1]}".format, indirect=True)


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> tuple[Path, int]:
    """Return an interpreter and its magic number."""
    version: tuple[int, int] = request.param
    if version not in find_interpreters():
        shown = ".".join(map(str, version))
        pytest.skip(f"no CPython {shown} on PATH, in pyenv or in LAMBDASLIM_PYTHONS")
    return find_interpreters()[version], MAGICS[version]


def command(executable: Path, *arguments: object) -> list[str]:
    return [str(executable), "-I", "-B", "-W", "ignore", "-c", SCRIPT, *map(str, arguments)]


def run(executable: Path, *arguments: object) -> str:
    done = subprocess.run(
        command(executable, *arguments), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def canonicalise_all(directory: Path, magic: int, name: str) -> int:
    sources = json.loads((directory / "sources.json").read_text())
    for number, path in enumerate(sources):
        old = (directory / f"{number}.pyc").read_bytes()
        new = pyc.canonicalise(old, Path(path).read_bytes(), magic, name)
        (directory / f"{number}.new").write_bytes(new)
    return len(sources)


@pytest.mark.interpreter
@pythons
def test_canonical_stdlib_is_the_same_code(python: tuple[Path, int], tmp_path: Path) -> None:
    executable, magic = python
    run(executable, "compile_stdlib", tmp_path, 200)
    count = canonicalise_all(tmp_path, magic, NAME)
    assert run(executable, "compare", tmp_path, json.dumps(NAME)) == f"same {count}\n"
    assert count == 200
    for number, path in enumerate(json.loads((tmp_path / "sources.json").read_text())):
        source, mtime = Path(path).read_bytes(), int(Path(path).stat().st_mtime)
        for suffix in ("pyc", "new"):
            data = (tmp_path / f"{number}.{suffix}").read_bytes()
            assert pyc.is_valid(data, source, magic, source_mtime=mtime) is None
            assert pyc.is_valid(data, source + b"\n", magic, source_mtime=mtime) is not None


@pytest.mark.interpreter
@pytest.mark.parametrize(
    "name", [NAME, "name", "/x/y.py", "/é.py", "/" + "y" * 300, "/\udcff.py", ""], ids=ascii
)
@pythons
def test_strings_equal_to_the_old_name_stay(
    python: tuple[Path, int], name: str, tmp_path: Path
) -> None:
    executable, magic = python
    run(executable, "compile_shared", tmp_path)
    count = canonicalise_all(tmp_path, magic, name)
    assert run(executable, "compare", tmp_path, json.dumps(name)) == f"same {count}\n"


@pytest.mark.interpreter
@pythons
def test_canonical_code_imports_without_source(python: tuple[Path, int], tmp_path: Path) -> None:
    executable, magic = python
    source = b"import functools\nclass A:\n    def f(self): return [x for x in (1, 2)]\n"
    names = {}
    for number, name in enumerate(("first", "second")):
        text = source + f"def {name}(a, *, b={number}): return lambda: (a, b)\n".encode()
        path = tmp_path / "sources" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text)
        run(executable, "compile_one", path, tmp_path / f"{name}.pyc")
        old = (tmp_path / f"{name}.pyc").read_bytes()
        new = pyc.canonicalise(old, text, magic, f"/var/task/{name}.py")
        assert str(tmp_path).encode() in old
        assert str(tmp_path).encode() not in new
        (tmp_path / f"{name}.pyc").write_bytes(new)
        names[name] = path
    assert run(executable, "import_all", tmp_path, json.dumps(list(names))) == "imported\n"


@pytest.mark.interpreter
@pythons
def test_magic_is_what_the_interpreter_says(python: tuple[Path, int]) -> None:
    executable, magic = python
    ask = "import importlib.util as u; print(u.MAGIC_NUMBER.hex())"
    said = subprocess.run([executable, "-c", ask], capture_output=True, text=True, check=True)
    assert bytes.fromhex(said.stdout) == struct.pack("<H", magic) + b"\r\n"


class Hashes:
    """A running interpreter that answers with its own source hashes."""

    def __init__(self, executable: Path) -> None:
        self.process = subprocess.Popen(
            command(executable, "hashes"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, source: bytes) -> bytes:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(source.hex() + "\n")
        self.process.stdin.flush()
        return bytes.fromhex(self.process.stdout.readline())


@pytest.fixture(scope="module")
def hashes(python: tuple[Path, int]) -> Iterator[Hashes]:
    server = Hashes(python[0])
    with server.process:
        yield server
        assert server.process.stdin is not None
        server.process.stdin.close()


@pytest.mark.interpreter
@pythons
def test_source_hash_of_every_short_length(python: tuple[Path, int], hashes: Hashes) -> None:
    for length in [*range(101), 255, 256, 257, 4096, 65_537]:
        source = random.Random(length).randbytes(length)  # noqa: S311 - no secret
        assert pyc.source_hash(source, python[1]) == hashes(source), length


@pytest.mark.interpreter
@pythons
@given(source=st.binary(max_size=100))
def test_source_hash_of_any_bytes(python: tuple[Path, int], hashes: Hashes, source: bytes) -> None:
    assert pyc.source_hash(source, python[1]) == hashes(source)


def test_source_hash_here() -> None:
    assert pyc.source_hash(b"x = 1\n", HOST) == importlib.util.source_hash(b"x = 1\n")


def test_source_hash_of_an_unknown_version_is_refused() -> None:
    with pytest.raises(BytecodeError, match="3379 is the magic number of no known CPython"):
        pyc.source_hash(b"", 3379)


def test_versions_are_those_of_the_runtimes() -> None:
    known = {(one := runtimes.load(name)).magic: one.python for name in runtimes.names()}
    assert known.items() <= pyc.VERSIONS.items()


SOURCE = b"def f(x):\n    'A function.'\n    return x, ('text', 2.5, 10**30)\n"
CODE = compile(SOURCE, "old.py", "exec", dont_inherit=True)
BODY = marshal.dumps(CODE)
MTIME = 1_700_000_000


def made(flags: int, tail: bytes, body: bytes = BODY, magic: int = HOST) -> bytes:
    return struct.pack("<H2sI", magic, b"\r\n", flags) + tail + body


TIMED = made(0, struct.pack("<II", MTIME, len(SOURCE)))
HASHED = made(1, importlib.util.source_hash(SOURCE))
CHECKED = made(3, importlib.util.source_hash(SOURCE))


def test_header_of_a_timestamp_pyc() -> None:
    assert pyc.read_header(TIMED) == pyc.Header(HOST, 0, mtime=MTIME, size=len(SOURCE))


def test_header_of_a_hash_pyc() -> None:
    known = importlib.util.source_hash(SOURCE)
    assert pyc.read_header(HASHED) == pyc.Header(HOST, 1, source_hash=known)
    assert pyc.read_header(CHECKED) == pyc.Header(HOST, 3, source_hash=known)


@pytest.mark.parametrize(
    "data", [b"", TIMED[:15], made(2, bytes(8)), made(4, bytes(8)), b"\n\n\n\n" + TIMED[4:]]
)
def test_no_header(data: bytes) -> None:
    assert pyc.read_header(data) is None
    with pytest.raises(BytecodeError):
        pyc.canonicalise(data, SOURCE, HOST, NAME)


@pytest.mark.parametrize("data", [TIMED, HASHED, CHECKED])
def test_valid(data: bytes) -> None:
    assert pyc.is_valid(data, SOURCE, HOST, source_mtime=MTIME) is None


def test_hashes_need_no_time() -> None:
    assert pyc.is_valid(CHECKED, SOURCE, HOST, source_mtime=None) is None


def test_times_are_compared_in_32_bits() -> None:
    assert pyc.is_valid(TIMED, SOURCE, HOST, source_mtime=MTIME + 2**32) is None
    negative = made(0, struct.pack("<II", 2**32 - 5, len(SOURCE)))
    assert pyc.is_valid(negative, SOURCE, HOST, source_mtime=-5) is None


@pytest.mark.parametrize(
    ("data", "source", "mtime", "reason"),
    [
        (b"", SOURCE, MTIME, "is empty"),
        (TIMED[:9], SOURCE, MTIME, "is truncated"),
        (TIMED[:-1], SOURCE, MTIME, "is malformed: it ends early|does not end"),
        (TIMED[:16], SOURCE, MTIME, "is malformed: it ends early"),
        (TIMED + b"N", SOURCE, MTIME, "is malformed: it does not end where the file does"),
        (TIMED, SOURCE, MTIME + 1, "is stale: it records a source of time 1700000000, not"),
        (TIMED, SOURCE + b"\n", MTIME, "is stale: it records a source of [0-9]+ bytes, not"),
        (TIMED, SOURCE, None, "records its source's time, which is not known"),
        (HASHED, SOURCE.upper(), MTIME, "is stale: it records another hash"),
        (CHECKED, SOURCE.upper(), MTIME, "is stale: it records another hash"),
        (made(0, TIMED[8:16], b"i\0\0\0\0"), SOURCE, MTIME, "an object in a wrong place"),
        (made(0, TIMED[8:16], magic=3379), SOURCE, MTIME, "has the magic number 3379 instead of"),
    ],
)
def test_not_valid(data: bytes, source: bytes, mtime: int | None, reason: str) -> None:
    said = pyc.is_valid(data, source, HOST, source_mtime=mtime)
    assert said is not None
    assert re.search(reason, said), said


def test_a_wrong_magic_names_both_versions() -> None:
    assert pyc.is_valid(made(1, bytes(8), magic=3439), b"", 3531, source_mtime=None) == (
        "has the magic number 3439 (CPython 3.10) instead of 3531 (CPython 3.12)"
    )


def test_an_unknown_magic_is_never_valid() -> None:
    unknown = made(0, TIMED[8:16], magic=3379)
    assert pyc.is_valid(unknown, SOURCE, 3379, source_mtime=MTIME) == (
        "3379 is the magic number of no known CPython"
    )


def test_another_magic_is_refused() -> None:
    with pytest.raises(BytecodeError, match="is not a pyc of the magic number 3413"):
        pyc.canonicalise(made(1, bytes(8), magic=3425), b"", 3413, NAME)


def test_a_second_time_changes_nothing() -> None:
    once = pyc.canonicalise(TIMED, SOURCE, HOST, NAME)
    assert pyc.canonicalise(once, SOURCE, HOST, NAME) == once
    assert marshal.loads(once[16:]).co_filename == NAME  # noqa: S302 - written above


def test_every_truncation_is_refused() -> None:
    for length in range(len(BODY)):
        with pytest.raises(BytecodeError, match="is malformed"):
            pyc.canonicalise(TIMED[: 16 + length], SOURCE, HOST, NAME)


@pytest.mark.parametrize("item", [b"[\1\0\0\0N", b"{0", b"<\0\0\0\0", b"}0", b"f\0011", b"?", b"0"])
def test_what_no_source_compiles_to_is_refused(item: bytes) -> None:
    with pytest.raises(BytecodeError, match="holds the unknown tag"):
        pyc.canonicalise(with_constant(item), SOURCE, HOST, NAME)


def with_constant(item: bytes) -> bytes:
    """Return a pyc of this interpreter in which one constant is replaced by a marshalled object."""
    code = CODE.replace(co_consts=(bytes(bytearray(b"MARK")), *CODE.co_consts))
    before, after = marshal.dumps(code).split(b"s\4\0\0\0MARK")
    return made(0, TIMED[8:16], before + item + after)


@pytest.mark.parametrize("number", [-1, -(2**31), 10_000, 2**31 - 1])
def test_a_reference_to_nothing_is_refused(number: int) -> None:
    with pytest.raises(BytecodeError, match="refers to what is not there"):
        pyc.canonicalise(with_constant(struct.pack("<ci", b"r", number)), SOURCE, HOST, NAME)


def test_a_slot_takes_only_its_kind() -> None:
    numbers = b"\xe3" + bytes(20)
    for code in (b"r\0\0\0\0", b")\0", b"N"):  # the code object itself, an empty tuple, None
        with pytest.raises(BytecodeError, match=r"in a wrong place|refers to what is not there"):
            pyc.canonicalise(made(1, bytes(8), numbers + code, 3495), SOURCE, 3495, NAME)


def test_singletons_take_no_number() -> None:
    flagged = with_constant(bytes([ord("N") | 0x80]))
    code = marshal.loads(pyc.canonicalise(flagged, SOURCE, HOST, NAME)[16:])  # noqa: S302 - as above
    inner = code.co_consts[1]
    assert (code.co_filename, code.co_names) == (NAME, ("f",))
    assert (inner.co_filename, inner.co_name, inner.co_varnames) == (NAME, "f", ("x",))


def test_a_negative_length_is_refused() -> None:
    with pytest.raises(BytecodeError, match="negative length"):
        pyc.canonicalise(with_constant(struct.pack("<ci", b"s", -5)), SOURCE, HOST, NAME)


@pytest.mark.parametrize("version", [version for version in VERSIONS if version < (3, 14)])
def test_slices_are_unknown_before_3_14(version: tuple[int, int]) -> None:
    magic = MAGICS[version]
    # 3.8 to 3.10 have six integers, later ones five; then an empty code string and the constants.
    start = b"c" + bytes(24 if version < (3, 11) else 20) + b"s\0\0\0\0"
    with pytest.raises(BytecodeError, match="holds the unknown tag 0x3a"):
        pyc.canonicalise(made(1, bytes(8), start + b")\1:NNN", magic), b"", magic, NAME)


@pytest.mark.parametrize("depth", [1, 50, 100])
def test_what_compiles_is_not_too_deep(depth: int) -> None:
    deep = pyc.canonicalise(with_constant(b")\1" * depth + b"N"), SOURCE, HOST, NAME)
    item = marshal.loads(deep[16:]).co_consts[0]  # noqa: S302 - written above
    for _ in range(depth):
        (item,) = item
    assert item is None


@pytest.mark.parametrize("depth", [3_000, 100_000])
def test_what_is_too_deep_is_refused(depth: int) -> None:
    with pytest.raises(BytecodeError, match="is malformed: it is nested too deep"):
        pyc.canonicalise(with_constant(b")\1" * depth + b"N"), SOURCE, HOST, NAME)


@pytest.fixture(scope="module")
def corpus() -> list[bytes]:
    """Return some pycs of this interpreter."""
    found = []
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-d]*.py"))[:25]:
        source = path.read_bytes()
        code = compile(source, str(path), "exec", dont_inherit=True)
        found.append(made(1, importlib.util.source_hash(source), marshal.dumps(code)))
    return found


@given(st.data())
def test_corruption_raises_nothing_else(corpus: list[bytes], data: st.DataObject) -> None:
    broken = bytearray(data.draw(st.sampled_from(corpus)))
    for _ in range(data.draw(st.integers(1, 5))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    del broken[data.draw(st.integers(1, len(broken))) :]
    magic = data.draw(st.sampled_from([HOST, *MAGICS.values()]))
    broken[:4] = struct.pack("<H", magic) + b"\r\n"
    assert isinstance(pyc.is_valid(bytes(broken), SOURCE, magic, source_mtime=None), str | None)
    try:
        assert pyc.canonicalise(bytes(broken), SOURCE, magic, NAME)[:2] == struct.pack("<H", magic)
    except BytecodeError as error:
        assert error.fix == "keep the source"  # noqa: PT017 - both outcomes are fine


@given(st.binary(max_size=200), st.sampled_from(sorted(MAGICS.values())))
def test_any_body_raises_nothing_else(body: bytes, magic: int) -> None:
    with pytest.raises(BytecodeError):
        pyc.canonicalise(made(1, bytes(8), b"\xe3" + body, magic), SOURCE, magic, NAME)
