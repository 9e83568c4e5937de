"""The example's handler, before and after slimming, by the real runtime client of each version."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interpreters import find_interpreters
from lambdaslim import Checks, RefusedError, Target, Tree, scan, slim
from lambdaslim.errors import UsageError
from lambdaslim.verification import Verifier
from test_runtime_client import ARCHITECTURE, EXAMPLE, OLDEST
from vendored import Vendor

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.interpreter,
    pytest.mark.skipif(sys.platform != "linux", reason="the runtime client is made for Linux"),
]

EVENT = json.loads((EXAMPLE / "event.json").read_text("utf-8"))
# rasterio has wheels for these.
VERSIONS = [one for one in find_interpreters() if OLDEST <= one <= (3, 13)]


@pytest.fixture(scope="session")
def cache(vendored: Vendor) -> Path:
    """Return where the runtime's SDK and client are kept between runs of the tests."""
    return vendored.store / "verification"


@pytest.fixture(params=VERSIONS, ids="{0[0]}.{0[1]}".format)
def tiler(
    request: pytest.FixtureRequest, vendored: Vendor, tmp_path: Path
) -> tuple[Target, Path, Path]:
    """Return a target, its interpreter, and the example with what it requires."""
    python: tuple[int, int] = request.param
    executable = find_interpreters()[python]
    directory = tmp_path / "tiler"
    shutil.copytree(vendored("rasterio[s3]", python=executable), directory)
    shutil.copy(EXAMPLE / "app.py", directory)
    return Target.of("python{}.{}".format(*python), ARCHITECTURE), executable, directory


def test_the_packed_example_is_verified(
    tiler: tuple[Target, Path, Path], cache: Path, tmp_path: Path
) -> None:
    target, executable, directory = tiler
    slimmed = slim(
        directory,
        tmp_path / "out",
        runtime=target.runtime.name,
        architecture=target.architecture,
        interpreter=executable,
        allow_oversize=True,
        # This machine's pip takes wheels for this machine's C library.
        allow=["compat-glibc", "compat-library-missing"],
        verify=Checks(handler="app.handler", event=EVENT, run="python -c 'import app, boto3'"),
        cache=cache,
    )
    proof = slimmed.verification
    assert proof is not None
    assert proof.failures == ()
    assert proof.checked["handler"] == proof.checked["command"] == 1
    assert proof.checked["import"] > 200
    # Whether it was dropped or not (nobody has observed it in every runtime).
    assert not any("could not be installed" in note for note in proof.notes)


@pytest.mark.parametrize("tiler", VERSIONS[-1:], indirect=True, ids="{0[0]}.{0[1]}".format)
@pytest.mark.parametrize(
    ("gone", "kind", "subject"),
    [
        ("rasterio/windows", "import", "rasterio.windows"),
        ("rasterio-", "distribution", "rasterio"),
        ("app", "handler", "app.handler"),
    ],
)
def test_a_broken_package_is_seen(
    tiler: tuple[Target, Path, Path], cache: Path, gone: str, kind: str, subject: str
) -> None:
    target, executable, directory = tiler
    before = scan(directory)
    after = Tree(entry for path, entry in before.items() if not path.startswith(gone))
    checks = Checks(handler="app.handler", event=EVENT)
    with Verifier(before, target, checks, interpreter=executable, cache=cache) as verifier:
        found = verifier.verify(after)
        [failure] = [f for f in found.failures if (f.kind, f.subject) == (kind, subject)]
        assert verifier.still_fails(after, [failure])
        assert not verifier.still_fails(before, [failure])


HANDLERS = """
import itertools, os, time


def moody(event, context):
    return {"at": time.time_ns(), "seen": [1, 2]}


def failing(event, context):
    raise ValueError("as asked")


def dying(event, context):
    os._exit(3)
"""


Asked = Callable[[str, str, str], tuple[list[str], tuple[str, ...]]]


@pytest.fixture
def asked(cache: Path, tmp_path: Path) -> Asked:
    """Return a function: a handler with code before and after gives failures and notes."""
    target = Target.of(None, ARCHITECTURE)

    def ask(name: str, before: str, after: str) -> tuple[list[str], tuple[str, ...]]:
        trees = []
        for label, code in (("before", before), ("after", after)):
            (tmp_path / label).mkdir()
            (tmp_path / label / "m.py").write_text(code, "utf-8")
            trees.append(scan(tmp_path / label))
        checks = Checks(handler=f"m.{name}", event=[], imports=False, timeout=20)
        with Verifier(trees[0], target, checks, cache=cache) as verifier:
            found = verifier.verify(trees[1])
        return [one.after for one in found.failures], found.notes

    return ask


class TestHandlers:
    def test_answers_that_differ_by_themselves(self, asked: Asked) -> None:
        failures, notes = asked("moody", HANDLERS, HANDLERS.replace("[1, 2]", "[3]"))
        assert failures == []
        assert notes == (
            "the handler's answers differ by themselves: only their shape was compared",
        )

    def test_another_shape(self, asked: Asked) -> None:
        failures, _ = asked("moody", HANDLERS, HANDLERS.replace("[1, 2]", "'x'"))
        assert len(failures) == 1

    def test_a_handler_that_raises_before_too(self, asked: Asked) -> None:
        failures, notes = asked("failing", HANDLERS, HANDLERS.replace("as asked", "otherwise"))
        assert failures == ["error: ValueError: otherwise"]
        assert "raises before too" in notes[0]

    def test_a_handler_that_dies(self, asked: Asked) -> None:
        mended = HANDLERS.replace("os._exit(3)", "return 1")
        [failure], _ = asked("dying", mended, HANDLERS)
        assert failure.startswith("nothing: ")

    def test_a_handler_that_never_answered(self, asked: Asked) -> None:
        with pytest.raises(UsageError, match="does not answer, before anything was slimmed"):
            asked("absent", HANDLERS, HANDLERS)


def test_a_refused_handler_leaves_no_zip(cache: Path, tmp_path: Path) -> None:
    """A handler that tells its own file's name answers otherwise from bytecode."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "m.py").write_text("def f(event, context):\n    return __file__\n", "utf-8")
    with pytest.raises(RefusedError, match=r"handler m\.f: response: /var/task/m\.pyc"):
        slim(
            source,
            tmp_path / "out.zip",
            architecture=ARCHITECTURE,
            verify=Checks(handler="m.f", event={}),
            cache=cache,
        )
    assert not (tmp_path / "out.zip").exists()
