"""Packed functions answer the real Lambda runtime client, with their sources gone."""

from __future__ import annotations

import base64
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from interpreters import find_interpreters
from lambdaslim.runtime_api import Answer, NoAnswerError, RuntimeApi

pytestmark = [
    pytest.mark.network,
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the runtime client is made for Linux"),
]

Version = tuple[int, int]

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "tiler"
RUNNING: Version = sys.version_info[:2]
ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
# The runtime client is built for 3.10 and newer.
OLDEST: Version = (3, 10)

HANDLER = '''
"""Uses an installed package, and tells from what file it runs itself."""

import requests


def handler(event, context):
    url = requests.Request("GET", "http://localhost/", params=event).prepare().url
    return {"url": url, "function": context.function_name, "file": __file__}


def failing(event, context):
    raise ValueError("as asked")
'''


def runtime_facts(python: Version) -> dict[str, Any]:
    """Return what lambdaslim knows of a runtime, or nothing for one that it does not know."""
    row = files("lambdaslim") / "runtimes" / "python{}.{}.json".format(*python)
    facts: dict[str, Any] = json.loads(row.read_text("utf-8")) if row.is_file() else {}
    return facts


INTERPRETERS = {
    found: path
    for found, path in {**find_interpreters(), RUNNING: Path(sys.executable)}.items()
    if found >= OLDEST and runtime_facts(found)
}


def install(python: Path, target: Path, requirements: Sequence[str]) -> Path:
    """Install into `target` with `python`, or reuse what an earlier run installed there.

    The test's own pip is used with the other interpreter, which may come without one.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        staged = Path(scratch) / "staged"
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
        options = ["--disable-pip-version-check", "--only-binary=:all:", "--target", str(staged)]
        done = subprocess.run(
            [*pip, *options, *requirements], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        # Whole or not at all: a run that is interrupted leaves nothing to be reused.
        staged.rename(target)
    return target


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory for installed packages, which lasts as long as pytest's cache."""
    cache: pytest.Cache | None = getattr(request.config, "cache", None)
    return tmp_path_factory.mktemp("installed") if cache is None else cache.mkdir("installed")


class Runtime:
    """One interpreter together with what Lambda's runtime of that version holds."""

    def __init__(self, python: Version, store: Path) -> None:
        self.version = python
        self.python = INTERPRETERS[python]
        self.name = "python{}.{}".format(*python)
        client = f"awslambdaric=={version('awslambdaric')}"
        self._store = store / self.name
        self._client = self.installed(client, client)
        sdk = [row for row in runtime_facts(python)["provided"] if row["unit"] == "sdk"]
        wanted = [
            f"{row['distribution']}=={row['version']}" if row["version"] else row["distribution"]
            for row in sdk
        ]
        self._provided = [self.installed("provided", *wanted)] if wanted else []

    def installed(self, name: str, *requirements: str) -> Path:
        """Return a directory with the requirements, installed by this interpreter."""
        return install(self.python, self._store / name, requirements)

    def invoke(self, package: Path, handler: str, event: object, **variables: str) -> Answer:
        """Run a handler of an unzipped package under the real client."""
        with RuntimeApi(self._client) as api:
            return api.invoke(
                package,
                handler,
                event,
                self.python,
                extra_path=self._provided,
                variables=variables,
            )

    def pack(self, *sources: Path, into: Path, more: Sequence[str] = ()) -> Path:
        """Pack the sources with the command, unzip, and return the unzipped package."""
        archive = into / "packed.zip"
        command = [sys.executable, "-m", "lambdaslim", "pack", *map(str, sources)]
        target = ["--runtime", self.name, "--arch", ARCHITECTURE]
        # What a package weighs is no concern here, and packages grow. They are installed for this
        # machine, whose C library and libraries may be newer and more than Lambda's.
        allowed = ["--allow-oversize", "--allow", "compat-glibc"]
        allowed += ["--allow", "compat-library-missing"]
        options = [*target, *allowed, "--upload", "s3", "-o", str(archive), *more]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        package = into / "task"
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(package)
        return package


@pytest.fixture(scope="session", params=sorted(INTERPRETERS), ids="{0[0]}.{0[1]}".format)
def runtime(request: pytest.FixtureRequest, store: Path) -> Runtime:
    """Return each interpreter of this machine in turn."""
    return Runtime(request.param, store)


@pytest.fixture(scope="session")
def own_runtime(store: Path) -> Runtime:
    """Return the interpreter that runs the tests."""
    return Runtime(RUNNING, store)


@pytest.fixture
def handlers(tmp_path: Path) -> Path:
    """Return a directory with the handler alone."""
    directory = tmp_path / "handlers"
    directory.mkdir()
    (directory / "service.py").write_text(HANDLER, "utf-8")
    return directory


@pytest.fixture
def plain(own_runtime: Runtime, handlers: Path, tmp_path: Path) -> Path:
    """Return a package that lambdaslim had no part in."""
    package = tmp_path / "plain"
    shutil.copytree(own_runtime.installed("requests", "requests"), package)
    shutil.copy(handlers / "service.py", package)
    return package


class TestFakeApi:
    """The instrument itself, on packages that lambdaslim had no part in."""

    def test_a_plain_directory_answers(self, own_runtime: Runtime, plain: Path) -> None:
        answer = own_runtime.invoke(plain, "service.handler", {"a": "1"})
        assert answer.kind == "response", answer
        assert answer.body == {
            "url": "http://localhost/?a=1",
            "function": "verified",
            "file": str(plain / "service.py"),
        }

    def test_an_exception_of_the_handler_is_an_error(
        self, own_runtime: Runtime, plain: Path
    ) -> None:
        answer = own_runtime.invoke(plain, "service.failing", {})
        assert answer.kind == "error"
        assert (answer.body["errorType"], answer.body["errorMessage"]) == ("ValueError", "as asked")

    def test_a_missing_handler_is_an_import_error(
        self, own_runtime: Runtime, tmp_path: Path
    ) -> None:
        answer = own_runtime.invoke(tmp_path, "service.handler", {})
        assert answer.kind == "init/error"
        assert answer.body["errorType"] == "Runtime.ImportModuleError"
        assert "No module named 'service'" in answer.body["errorMessage"]

    def test_bytecode_of_another_interpreter_is_an_import_error(
        self, own_runtime: Runtime, tmp_path: Path
    ) -> None:
        (tmp_path / "service.pyc").write_bytes(b"\x00" * 16)
        answer = own_runtime.invoke(tmp_path, "service.handler", {})
        assert answer.body["errorType"] == "Runtime.ImportModuleError"
        assert "bad magic number" in answer.body["errorMessage"]

    def test_a_client_that_dies_is_noticed(self, own_runtime: Runtime, tmp_path: Path) -> None:
        (tmp_path / "service.py").write_text("import os\nprint('so far')\nos._exit(3)\n")
        with pytest.raises(NoAnswerError, match="so far"):
            own_runtime.invoke(tmp_path, "service.handler", {})

    def test_path_configuration_files_are_executed(
        self, own_runtime: Runtime, tmp_path: Path
    ) -> None:
        (tmp_path / "below").mkdir()
        (tmp_path / "below" / "service.py").write_text("def handler(event, context): return event")
        (tmp_path / "more.pth").write_text("below\n")
        assert own_runtime.invoke(tmp_path, "service.handler", [1]).body == [1]


@pytest.mark.interpreter
def test_a_packed_function_answers(runtime: Runtime, handlers: Path, tmp_path: Path) -> None:
    package = runtime.pack(runtime.installed("requests", "requests"), handlers, into=tmp_path)
    answer = runtime.invoke(package, "service.handler", {"q": "ä"})
    assert answer.kind == "response", answer
    assert answer.body["url"] == "http://localhost/?q=%C3%A4"
    # The tool can compile for the interpreter that runs it; for others it may keep the source.
    if runtime.version == RUNNING:
        assert not list(package.glob("**/service.py"))
        assert answer.body["file"] == str(package / "service.pyc")
    else:
        assert Path(answer.body["file"]).parent == package


@pytest.mark.interpreter
def test_an_error_of_a_packed_function_is_reported(
    runtime: Runtime, handlers: Path, tmp_path: Path
) -> None:
    package = runtime.pack(handlers, into=tmp_path)
    (package / "requests.py").write_text("")
    answer = runtime.invoke(package, "service.failing", {})
    assert answer.kind == "error"
    assert answer.body["errorType"] == "ValueError"


@dataclass(frozen=True)
class Tiler:
    """The example, as it is installed and as it is packed."""

    plain: Path
    packed: Path


@pytest.fixture(scope="module")
def tiler(own_runtime: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Tiler:
    """Return both forms of examples/tiler."""
    directory = tmp_path_factory.mktemp("tiler")
    vendored = own_runtime.installed("rasterio", "rasterio[s3]")
    plain = directory / "plain"
    shutil.copytree(vendored, plain)
    shutil.copy(EXAMPLE / "app.py", plain)
    return Tiler(plain, own_runtime.pack(vendored, EXAMPLE, into=directory))


def test_the_packed_tiler_answers_as_before(own_runtime: Runtime, tiler: Tiler) -> None:
    event = json.loads((EXAMPLE / "event.json").read_text("utf-8"))
    before = own_runtime.invoke(tiler.plain, "app.handler", event)
    after = own_runtime.invoke(tiler.packed, "app.handler", event)
    assert not list(tiler.packed.glob("app.py"))
    assert (after.kind, after.body["statusCode"]) == ("response", 200), after
    assert base64.b64decode(after.body["body"]).startswith(b"\x89PNG\r\n")
    assert after.body == before.body


def test_the_packed_tiler_refuses_a_tile_that_is_not_there(
    own_runtime: Runtime, tiler: Tiler
) -> None:
    answer = own_runtime.invoke(tiler.packed, "app.handler", {"z": 1, "x": 2, "y": 0})
    assert answer.body["statusCode"] == 400


# Fails two calls deep in the example, and is no part of it.
PROBE = """\
import app


def handler(event, context):
    return app.render(
        event["z"], 0, 0
    )
"""


@dataclass(frozen=True)
class Failing:
    """The example with a handler that fails: installed, packed, and the packed one's sources."""

    runtime: Runtime
    plain: Path
    packed: Path
    companion: Path

    def logged(self, package: Path, log_format: str) -> str:
        """Return what the failing handler leaves in the log."""
        event = {"z": "four"}
        answer = self.runtime.invoke(
            package, "probe.handler", event, AWS_LAMBDA_LOG_FORMAT=log_format
        )
        assert answer.body["errorType"] == "TypeError", answer
        return answer.log


@pytest.fixture(scope="module", params=[(3, 11), (3, 13)], ids="{0[0]}.{0[1]}".format)
def failing(
    request: pytest.FixtureRequest, store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Failing:
    """Return the failing example for a runtime whose interpreter is here."""
    if request.param not in INTERPRETERS:
        pytest.skip("no CPython {}.{} on this machine".format(*request.param))
    runtime, directory = Runtime(request.param, store), tmp_path_factory.mktemp("failing")
    vendored = runtime.installed("rasterio", "rasterio[s3]")
    code = directory / "code"
    code.mkdir()
    shutil.copy(EXAMPLE / "app.py", code)
    (code / "probe.py").write_text(PROBE, "utf-8")
    plain, companion = directory / "plain", directory / "packed.src.zip"
    shutil.copytree(vendored, plain)
    shutil.copytree(code, plain, dirs_exist_ok=True)
    interpreter = ["--interpreter", str(runtime.python), "--require-bytecode"]
    options = ["--sources", str(companion), *interpreter]
    packed = runtime.pack(vendored, code, into=directory, more=options)
    return Failing(runtime, plain, packed, companion)


@pytest.mark.interpreter
@pytest.mark.parametrize("log_format", ["Text", "JSON"])
def test_a_traceback_gets_its_source_lines_back(failing: Failing, log_format: str) -> None:
    """The restored log of the packed example is that of the same example with its sources."""
    log = failing.logged(failing.packed, log_format)
    assert "app.render" not in log
    command = [sys.executable, "-m", "lambdaslim", "traceback"]
    done = subprocess.run(
        [*command, "--sources", str(failing.companion)],
        input=log.encode(),
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    restored = done.stdout.decode()
    for line in ("return app.render(", "place = bounds(z, x, y)", "if not 0 <= z <= DEEPEST"):
        assert line in restored
    expected = failing.logged(failing.plain, log_format).replace(str(failing.plain), "/var/task")
    assert events(restored, log_format) == events(expected, log_format)


def events(log: str, log_format: str) -> list[Any]:
    """Return the events of a log without what differs between invocations."""
    if log_format == "Text":
        return [line for line in log.split("\n") if "Traceback" in line]
    found = [json.loads(line) for line in log.split("\n") if "stackTrace" in line]
    for event in found:
        del event["timestamp"], event["requestId"]
    return found
