"""The same packages give the same bytes: wherever, whenever and by whatever Python they are packed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from shutil import copytree

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
OTHERS = [version for version in PYTHONS if version != RUNNING]
# What lambdaslim is made of, all of it pure Python.
PARTS = (lambdaslim, packaging, pathspec)
ASK = "import json, zlib; print(json.dumps(zlib.ZLIB_RUNTIME_VERSION))"


@dataclass(frozen=True)
class Circumstances:
    """In what surroundings a package is made."""

    cwd: Path
    umask: int = 0o022
    variables: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Digests:
    """What identifies a package."""

    sha256: str
    content: str


@pytest.fixture(scope="session")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory from which any Python can import lambdaslim and nothing else."""
    place = tmp_path_factory.mktemp("code")
    for part in PARTS:
        source = Path(part.__path__[0])
        copytree(source, place / source.name)
    return place


def pack(
    code: Path,
    source: Path,
    out: Path,
    around: Circumstances,
    *,
    python: Path | None = None,
    runtime: tuple[int, int] = RUNNING,
    options: tuple[str, ...] = (),
) -> Digests:
    """Pack `source` with the lambdaslim of `code`, run by `python`, and return the digests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    target = ("--runtime", "python{}.{}".format(*runtime))
    done = subprocess.run(
        [
            *(python or sys.executable, "-m", "lambdaslim", "pack", source, "-o", out, *target),
            *("--allow-oversize", "--json", *options),
        ],
        env={**kept, "PYTHONPATH": str(code), **around.variables},
        cwd=around.cwd,
        umask=around.umask,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert out.exists(), done.stderr
    facts = json.loads(done.stdout)
    return Digests(facts["sha256"], facts["content_digest"])


@pytest.fixture
def here(tmp_path: Path) -> Circumstances:
    """Return usual circumstances."""
    return Circumstances(tmp_path, 0o022, {"TZ": "UTC", "LANG": "C.UTF-8", "PYTHONHASHSEED": "1"})


@pytest.fixture
def elsewhere(tmp_path: Path) -> Circumstances:
    """Return circumstances that differ from the usual ones in everything."""
    place = tmp_path / "else where"
    place.mkdir()
    variables = {"TZ": "Pacific/Chatham", "LANG": "tr_TR.ISO-8859-9", "PYTHONHASHSEED": "4242"}
    return Circumstances(place, 0o077, {**variables, "HOME": str(place), "USER": "other"})


@posix_only
def test_the_small_tree_anywhere(
    code: Path, tmp_path: Path, here: Circumstances, elsewhere: Circumstances
) -> None:
    first, second = small_tree(tmp_path / "vendored"), small_tree(tmp_path / "another" / "place")
    for number, place in enumerate(path for path in second.rglob("*") if path.is_file()):
        os.utime(place, (number, 5_000_000_000 + number))
        place.chmod(0o600 | 0o044 * (number % 2))
    assert pack(code, first, tmp_path / "1.zip", here) == pack(
        code, second, tmp_path / "2.zip", elsewhere
    )


@posix_only
def test_a_different_byte_is_a_different_package(
    code: Path, tmp_path: Path, here: Circumstances
) -> None:
    """The instrument itself: the digests tell packages apart."""
    source = small_tree(tmp_path / "vendored")
    before = pack(code, source, tmp_path / "1.zip", here)
    (source / "handler.py").write_text("changed = True\n")
    after = pack(code, source, tmp_path / "2.zip", here)
    assert before.sha256 != after.sha256
    assert before.content != after.content


@posix_only
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("requirements", [RASTERIO, PANDAS, WEB], ids="+".join)
def test_two_installations(
    vendored: Vendor,
    code: Path,
    tmp_path: Path,
    here: Circumstances,
    elsewhere: Circumstances,
    requirements: tuple[str, ...],
) -> None:
    first = vendored(*requirements)
    second = vendored(*pins(first))
    assert first != second
    assert pack(code, first, tmp_path / "1.zip", here) == pack(
        code, second, tmp_path / "2.zip", elsewhere
    )


@posix_only
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.interpreter
@pytest.mark.parametrize("version", OTHERS, ids="{0[0]}.{0[1]}".format)
def test_two_installations_for_another_runtime(  # noqa: PLR0913 - fixtures
    vendored: Vendor,
    code: Path,
    tmp_path: Path,
    here: Circumstances,
    elsewhere: Circumstances,
    version: tuple[int, int],
) -> None:
    """Each Python packs for its own runtime."""
    python = PYTHONS[version]
    first = vendored(*WEB, python=python)
    second = vendored(*pins(first), python=python)
    made = [
        pack(code, source, tmp_path / f"{n}.zip", around, python=python, runtime=version)
        for n, (source, around) in enumerate([(first, here), (second, elsewhere)])
    ]
    assert made[0] == made[1]


@posix_only
@pytest.mark.network
@pytest.mark.slow
@pytest.mark.interpreter
@pytest.mark.skipif(not OTHERS, reason="there is one Python that runs lambdaslim")
@pytest.mark.parametrize("target", PYTHONS, ids="{0[0]}.{0[1]}".format)
def test_any_python_packs_the_same(
    vendored: Vendor, code: Path, tmp_path: Path, here: Circumstances, target: tuple[int, int]
) -> None:
    """Whatever Python runs the tool, the target's own one compiles."""
    source = vendored(*WEB)
    made: dict[tuple[int, int], Digests] = {}
    for version, python in PYTHONS.items():
        out = tmp_path / "{}.{}.zip".format(*version)
        options = ("--interpreter", str(PYTHONS[target]))
        made[version] = pack(
            code, source, out, here, python=python, runtime=target, options=options
        )
    assert len({digests.content for digests in made.values()}) == 1
    # Each release of zlib may compress in another way.
    for library in {_zlib(python) for python in PYTHONS.values()}:
        same = {made[version].sha256 for version, path in PYTHONS.items() if _zlib(path) == library}
        assert len(same) == 1


def _zlib(python: Path) -> str:
    answer = subprocess.check_output([python, "-I", "-c", ASK], text=True)
    return str(json.loads(answer))


@posix_only
@pytest.mark.network
@pytest.mark.slow
def test_the_installation_is_left_alone(
    vendored: Vendor, code: Path, tmp_path: Path, here: Circumstances
) -> None:
    source = vendored(*WEB)
    before = snapshot(source)
    pack(code, source, tmp_path / "out.zip", here)
    assert snapshot(source) == before
