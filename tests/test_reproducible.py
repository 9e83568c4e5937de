"""The same packages give the same bytes, wherever, whenever and by whatever Python packed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns

import packaging
import pathspec
import pytest

import lambdaslim
from disk import posix_only, snapshot
from interpreters import find_interpreters
from vendored import Vendor, pins, small_tree

RASTERIO = ("rasterio[s3]",)
PANDAS = ("pandas", "pyarrow")
WEB = ("fastapi", "mangum", "sqlalchemy", "boto3")
RUNNING = sys.version_info[:2]
# lambdaslim itself needs 3.11.
PYTHONS = {v: path for v, path in find_interpreters().items() if v >= (3, 11)}
# What was installed for this machine may be too large, or too new for Lambda.
ANYWAY = ("--allow-oversize", "--allow", "compat-glibc", "--allow", "compat-library-missing")
OTHERS = [version for version in PYTHONS if version != RUNNING]
# What lambdaslim is made of, all of it pure Python.
PARTS = (lambdaslim, packaging, pathspec)
ASK = "import json, zlib; print(json.dumps(zlib.ZLIB_RUNTIME_VERSION))"


@dataclass(frozen=True)
class Digests:
    """What identifies a package."""

    sha256: str
    content: str


@dataclass(frozen=True)
class Packer:
    """Packs with the lambdaslim of `code` in `desk`, under usual or under strange circumstances."""

    code: Path
    desk: Path

    def __call__(
        self, source: Path, *options: str, strangely: bool = False, python: Path | None = None
    ) -> Digests:
        """Pack `source` in a process of `python` (the running one) and return the digests."""
        cwd, umask, variables = self._strange() if strangely else self._usual()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        out = cwd / "out.zip"
        out.unlink(missing_ok=True)
        command = [python or sys.executable, "-m", "lambdaslim", "pack", source, "-o", out]
        done = subprocess.run(
            [*command, *ANYWAY, "--json", *(options or runtime(RUNNING))],
            env={**kept, "PYTHONPATH": str(self.code), **variables},
            cwd=cwd,
            umask=umask,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert out.exists(), done.stderr
        facts = json.loads(done.stdout)
        assert hashlib.sha256(out.read_bytes()).hexdigest() == facts["sha256"]
        return Digests(facts["sha256"], facts["content_digest"])

    def _usual(self) -> tuple[Path, int, dict[str, str]]:
        return self.desk, 0o022, {"TZ": "UTC", "LANG": "C.UTF-8", "PYTHONHASHSEED": "1"}

    def _strange(self) -> tuple[Path, int, dict[str, str]]:
        place = self.desk / "else where"
        place.mkdir(exist_ok=True)
        variables = {"TZ": "Pacific/Chatham", "LANG": "tr_TR.ISO-8859-9", "PYTHONHASHSEED": "4242"}
        return place, 0o077, {**variables, "HOME": str(place), "USER": "other"}


def runtime(version: tuple[int, int]) -> tuple[str, str]:
    """Return the option that names a runtime."""
    return "--runtime", "python{}.{}".format(*version)


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory from which any Python can import lambdaslim and nothing else."""
    place = tmp_path_factory.mktemp("code")
    for part in PARTS:
        source = Path(part.__path__[0])
        copytree(source, place / source.name, ignore=ignore_patterns("__pycache__"))
    return place


@pytest.fixture
def pack(code: Path, tmp_path: Path) -> Packer:
    """Return a function that packs."""
    return Packer(code, tmp_path)


@posix_only
def test_the_small_tree_anywhere(pack: Packer, tmp_path: Path) -> None:
    first, second = small_tree(tmp_path / "vendored"), small_tree(tmp_path / "another" / "place")
    for number, place in enumerate(path for path in second.rglob("*") if path.is_file()):
        os.utime(place, (number, 5_000_000_000 + number))
        place.chmod(0o600 | 0o044 * (number % 2))
    assert pack(first) == pack(second, strangely=True)


@posix_only
def test_a_different_byte_is_a_different_package(pack: Packer, tmp_path: Path) -> None:
    """The instrument itself: the digests tell packages apart."""
    source = small_tree(tmp_path / "vendored")
    before = pack(source)
    (source / "handler.py").write_text("changed = True\n")
    after = pack(source)
    assert before.sha256 != after.sha256
    assert before.content != after.content


@posix_only
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("requirements", [RASTERIO, PANDAS, WEB], ids="+".join)
def test_two_installations(vendored: Vendor, pack: Packer, requirements: tuple[str, ...]) -> None:
    first = vendored(*requirements)
    second = vendored(*pins(first))
    assert first != second
    before = snapshot(first)
    assert pack(first) == pack(second, strangely=True)
    assert snapshot(first) == before


@posix_only
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.interpreter
@pytest.mark.parametrize("version", OTHERS, ids="{0[0]}.{0[1]}".format)
def test_two_installations_for_another_runtime(
    vendored: Vendor, pack: Packer, version: tuple[int, int]
) -> None:
    """Each Python packs for its own runtime."""
    python = PYTHONS[version]
    first = vendored(*WEB, python=python)
    second = vendored(*pins(first), python=python)
    usually = pack(first, *runtime(version), python=python)
    assert usually == pack(second, *runtime(version), python=python, strangely=True)


@posix_only
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.interpreter
@pytest.mark.skipif(not OTHERS, reason="there is one Python that runs lambdaslim")
@pytest.mark.parametrize("target", [(3, 13)], ids="{0[0]}.{0[1]}".format)
def test_any_python_packs_the_same(vendored: Vendor, pack: Packer, target: tuple[int, int]) -> None:
    """Whatever Python runs the tool, the target's own one compiles."""
    if target not in PYTHONS:
        pytest.skip("no CPython {}.{} on this machine".format(*target))
    source = vendored(*WEB, python=PYTHONS[target])
    options = (*runtime(target), "--interpreter", str(PYTHONS[target]))
    made = {python: pack(source, *options, python=python) for python in PYTHONS.values()}
    assert len({digests.content for digests in made.values()}) == 1
    # Each release of zlib may compress in another way.
    libraries = {python: _zlib(python) for python in made}
    for library in libraries.values():
        same = {made[python].sha256 for python in made if libraries[python] == library}
        assert len(same) == 1


def _zlib(python: Path) -> str:
    answer = subprocess.check_output([python, "-I", "-c", ASK], text=True)
    return str(json.loads(answer))
