"""Driving uv and pip: what is run for which target, and what is left when it fails."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from lambdaslim import runtimes
from lambdaslim.errors import OutputError, SlimError, UsageError, VendorError
from lambdaslim.target import Target
from lambdaslim.vendor import Vendored, vendor

Kind = Literal["uv", "pip"]
KINDS: tuple[Kind, ...] = ("uv", "pip")
TARGETS = [
    Target.of(runtime, architecture)
    for runtime, architecture in itertools.product(runtimes.names(), ("x86_64", "arm64"))
]
ARM = Target.of("python3.13", "arm64")


def label(target: Target) -> str:
    """Name a target in the names of tests."""
    return f"{target.runtime.name}-{target.architecture}"


# By name, since the package may export the function under the name of its module.
room = importlib.import_module("lambdaslim.vendor")


@dataclass
class FakeRunner:
    """Stands for the one function that starts processes; `on_install` is what an install does."""

    on_install: Callable[[Path], None] | None = None
    failure: tuple[str, str] | None = None
    broken: frozenset[str] = frozenset()
    commands: list[tuple[str, ...]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)

    def __call__(
        self, command: Sequence[str], environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        self.commands.append(tuple(command))
        self.environments.append(dict(environment))
        if "--version" in command:
            return self._version(command)
        directory = Path(command[command.index("--target") + 1])
        (directory / "six.py").write_text("")
        (directory / ".lock").write_text("")
        if self.on_install:
            self.on_install(directory)
        out, err = self.failure or ("", "")
        return subprocess.CompletedProcess(command, 1 if self.failure else 0, out, err)

    def _version(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        if command[0] in self.broken:
            raise FileNotFoundError(command[0])
        name = "pip 26.0 from somewhere" if "pip" in command else "uv 0.9.1 (x86_64-linux)"
        status = 127 if name[:3].strip() in self.broken else 0
        return subprocess.CompletedProcess(command, status, name, "")

    @property
    def installs(self) -> list[tuple[str, ...]]:
        return [command for command in self.commands if "--version" not in command]


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> FakeRunner:
    """A fake runner, a `uv` on PATH, importable `uv` and `pip`, and a host like the target."""
    fake = FakeRunner()
    monkeypatch.setattr(room, "_run", fake)
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(room, "_host", lambda: ("3.13", "linux", "aarch64"))
    return fake


def values(command: Sequence[str], option: str) -> list[str]:
    """Return the values of an option that may be repeated."""
    return [value for name, value in itertools.pairwise(command) if name == option]


def project(directory: Path, name: str = "tiny-local", body: str = "ANSWER = 1\n") -> Path:
    """Write a local project with a build backend and a dependency."""
    package = directory / "tiny_local"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text(body)
    (directory / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        f'[project]\nname = "{name}"\nversion = "1"\ndependencies = ["six"]\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["tiny_local"]\n'
    )
    return directory


class TestCommand:
    @pytest.mark.parametrize("target", TARGETS, ids=label)
    def test_uv_for_every_target(self, runner: FakeRunner, tmp_path: Path, target: Target) -> None:
        vendor(["six"], into=tmp_path / "out", target=target, installer="uv")
        (command,) = runner.installs
        machine = {"x86_64": "x86_64", "arm64": "aarch64"}[target.architecture]
        glibc = {26: 17, 34: 34}[target.runtime.glibc[1]]
        assert command[:3] == ("/bin/uv", "pip", "install")
        assert command[-1] == "six"
        assert values(command, "--python-platform") == [f"{machine}-manylinux_2_{glibc}"]
        assert values(command, "--python-version") == [target.runtime.name.removeprefix("python")]
        assert values(command, "--only-binary") == [":all:"]
        assert values(command, "--link-mode") == ["copy"]
        assert {"--no-installer-metadata", "--no-compile-bytecode"} < set(command)
        assert "--no-binary" not in command

    @pytest.mark.parametrize("target", TARGETS, ids=label)
    def test_pip_for_every_target(self, runner: FakeRunner, tmp_path: Path, target: Target) -> None:
        vendor(["six"], into=tmp_path / "out", target=target, installer="pip")
        (command,) = runner.installs
        minor = target.python[1]
        assert command[:5] == (sys.executable, "-P", "-m", "pip", "install")
        assert command[-1] == "six"
        assert values(command, "--python-version") == [f"3.{minor}"]
        assert values(command, "--abi") == [f"cp3{minor}", "abi3", "none"]
        assert values(command, "--implementation") == ["cp"]
        assert values(command, "--only-binary") == [":all:"]
        assert {"--no-compile", "--no-input"} < set(command)

    @pytest.mark.parametrize("target", TARGETS, ids=label)
    def test_pip_gets_every_platform_best_first(
        self, runner: FakeRunner, tmp_path: Path, target: Target
    ) -> None:
        vendor(["six"], into=tmp_path / "out", target=target, installer="pip")
        platforms = values(runner.installs[0], "--platform")
        machine, newest = target.machine, target.runtime.glibc[1]
        assert platforms[0] == f"manylinux_2_{newest}_{machine}"
        assert {f"manylinux_2_{n}_{machine}" for n in range(17, newest + 1)} < set(platforms)
        assert f"manylinux2014_{machine}" in platforms
        assert (f"manylinux1_{machine}" in platforms) == (machine == "x86_64")
        assert (f"manylinux2010_{machine}" in platforms) == (machine == "x86_64")
        assert len(platforms) == len(set(platforms))

    def test_files_and_extra_arguments(self, runner: FakeRunner, tmp_path: Path) -> None:
        file = tmp_path / "requirements.txt"
        file.write_text("# names\nsix==1.17.0\n")
        vendor(
            ["idna"],
            into=tmp_path / "out",
            target=ARM,
            requirement_files=[file],
            extra_arguments=["--no-deps"],
        )
        (command,) = runner.installs
        assert command[-3:] == ("-r", str(file), "idna")
        assert "--no-deps" in command

    def test_what_was_done(self, runner: FakeRunner, tmp_path: Path) -> None:
        done = vendor(["six"], into=tmp_path / "out", target=ARM)
        (ran,) = runner.installs
        staging, shown = values(ran, "--target")[0], values(done.command, "--target")[0]
        assert done.directory == tmp_path / "out"
        assert done.installer == "uv 0.9.1"
        assert shown == str(tmp_path / "out")
        assert tuple(shown if part == staging else part for part in ran) == done.command


class TestLocalProject:
    @pytest.mark.parametrize("editable", ["", "-e ", "-e=", "--editable ", "--editable="])
    def test_uv_is_told_to_build_it(
        self, runner: FakeRunner, tmp_path: Path, editable: str
    ) -> None:
        place = project(tmp_path / "service", "Tiny.Local")
        vendor([f"{editable}{place}"], into=tmp_path / "out", target=ARM, installer="uv")
        (command,) = runner.installs
        assert values(command, "--no-binary") == ["Tiny.Local"]
        assert values(command, "--refresh-package") == ["Tiny.Local"]
        assert command[-1] == str(place)

    @pytest.mark.parametrize(
        "requirement",
        [
            ".",
            "./",
            ".[extra]",
            '. ; python_version > "3"',
            "-e.",
            "tiny @ .",
            "tiny[x] @ {uri}",
            "{uri}",
        ],
    )
    def test_spellings(
        self, runner: FakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requirement: str
    ) -> None:
        place = project(tmp_path / "a service")
        monkeypatch.chdir(place)
        text = requirement.format(uri=place.as_uri())
        vendor([text], into=tmp_path / "out", target=ARM, installer="uv")
        assert values(runner.installs[0], "--no-binary") == ["tiny-local"]

    def test_in_a_requirement_file(self, runner: FakeRunner, tmp_path: Path) -> None:
        place = project(tmp_path / "service")
        file = tmp_path / "requirements.txt"
        file.write_text(f"{place}  # ours\n")
        vendor(into=tmp_path / "out", target=ARM, requirement_files=[file], installer="uv")
        assert values(runner.installs[0], "--no-binary") == ["tiny-local"]

    def test_pip_refuses_no_binary_and_does_not_need_it(
        self, runner: FakeRunner, tmp_path: Path
    ) -> None:
        place = tmp_path / "no-pyproject"
        place.mkdir()
        vendor([str(place)], into=tmp_path / "out", target=ARM, installer="pip")
        assert "--no-binary" not in runner.installs[0]

    def test_a_name_is_no_directory(
        self, runner: FakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "six").mkdir()
        monkeypatch.chdir(tmp_path)
        vendor(["six"], into=tmp_path / "out", target=ARM, installer="uv")
        assert "--no-binary" not in runner.installs[0]

    @pytest.mark.parametrize(
        ("text", "problem"),
        [
            (None, "cannot be read"),
            ("[project", "not valid TOML"),
            ("[tool.x]\n", "no [project] name"),
            ('project = "x"\n', "no [project] name"),
            ("[project]\nname = 3\n", "no [project] name"),
        ],
    )
    def test_without_a_name(
        self, runner: FakeRunner, tmp_path: Path, text: str | None, problem: str
    ) -> None:
        place = tmp_path / "service"
        place.mkdir()
        if text is not None:
            (place / "pyproject.toml").write_text(text)
        with pytest.raises(UsageError) as caught:
            vendor([str(place)], into=tmp_path / "out", target=ARM, installer="uv")
        assert problem in caught.value.what
        assert caught.value.where == str(place / "pyproject.toml")
        assert not runner.installs


class TestUsage:
    def test_nothing_to_install(self, runner: FakeRunner, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="nothing to install"):
            vendor(into=tmp_path / "out", target=ARM)
        assert not runner.commands

    def test_files_without_a_requirement(self, runner: FakeRunner, tmp_path: Path) -> None:
        file = tmp_path / "requirements.txt"
        file.write_text("\n  # nothing\n")
        with pytest.raises(UsageError, match="nothing to install"):
            vendor(into=tmp_path / "out", target=ARM, requirement_files=[file])
        assert not runner.commands

    @pytest.mark.parametrize("name", ["missing.txt", "."])
    def test_unreadable_file(self, runner: FakeRunner, tmp_path: Path, name: str) -> None:
        file = tmp_path / name
        with pytest.raises(UsageError, match="cannot be read") as caught:
            vendor(["six"], into=tmp_path / "out", target=ARM, requirement_files=[file])
        assert caught.value.where == str(file)
        assert not runner.commands

    def test_editable_in_a_file(self, runner: FakeRunner, tmp_path: Path) -> None:
        file = tmp_path / "requirements.txt"
        file.write_text("six\n-e ./service\n")
        with pytest.raises(UsageError, match="editable"):
            vendor(into=tmp_path / "out", target=ARM, requirement_files=[file])
        assert not runner.commands

    @pytest.mark.parametrize(
        "requirement", ["", "  ", "--index-url=x", "-r", "-extra", "-e --pre", "-e"]
    )
    def test_no_requirement(self, runner: FakeRunner, tmp_path: Path, requirement: str) -> None:
        with pytest.raises(UsageError):
            vendor([requirement], into=tmp_path / "out", target=ARM)
        assert not runner.commands

    def test_unknown_installer(self, runner: FakeRunner, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="auto, uv or pip"):
            vendor(["six"], into=tmp_path / "out", target=ARM, installer="npm")  # type: ignore[arg-type]
        assert not runner.commands


class TestInstaller:
    def test_prefers_uv_on_path(self, runner: FakeRunner, tmp_path: Path) -> None:
        vendor(["six"], into=tmp_path / "out", target=ARM)
        assert runner.installs[0][:2] == ("/bin/uv", "pip")

    def test_then_the_uv_module(self, runner: FakeRunner, tmp_path: Path) -> None:
        runner.broken = frozenset({"/bin/uv"})
        vendor(["six"], into=tmp_path / "out", target=ARM)
        assert runner.installs[0][:5] == (sys.executable, "-P", "-m", "uv", "pip")

    def test_then_pip(self, runner: FakeRunner, tmp_path: Path) -> None:
        runner.broken = frozenset({"uv"})
        done = vendor(["six"], into=tmp_path / "out", target=ARM)
        assert done.installer == "pip 26.0"
        assert done.command[:4] == (sys.executable, "-P", "-m", "pip")

    @pytest.mark.parametrize("installer", ["auto", "uv", "pip"])
    def test_none(
        self,
        runner: FakeRunner,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        installer: Literal["auto", "uv", "pip"],
    ) -> None:
        monkeypatch.setattr(shutil, "which", lambda _: None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(VendorError, match=r"can.* be run; (install uv|add pip)"):
            vendor(["six"], into=tmp_path / "out", target=ARM, installer=installer)
        assert not runner.commands
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("host", "caveats"),
        [
            (("3.13", "linux", "aarch64"), 0),
            (("3.12", "linux", "aarch64"), 1),
            (("3.13", "darwin", "arm64"), 1),
            (("3.13", "linux", "x86_64"), 1),
        ],
    )
    def test_pip_evaluates_markers_here(
        self,
        runner: FakeRunner,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        host: tuple[str, str, str],
        caveats: int,
    ) -> None:
        monkeypatch.setattr(room, "_host", lambda: host)
        with_uv = vendor(["six"], into=tmp_path / "uv", target=ARM, installer="uv")
        with_pip = vendor(["six"], into=tmp_path / "pip", target=ARM, installer="pip")
        assert with_uv.caveats == ()
        assert len(with_pip.caveats) == caveats
        assert len(runner.installs) == len(KINDS)

    def test_environment(
        self, runner: FakeRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        redirecting = {"PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_USER", "PIP_PREFIX"}
        redirecting |= {"PIP_PLATFORM", "PIP_NO_BINARY", "UV_TARGET", "UV_SYSTEM_PYTHON"}
        kept = ("PIP_INDEX_URL", "UV_INDEX_URL", "PIP_CONSTRAINT", "HTTPS_PROXY", "UV_CACHE_DIR")
        for name in (*redirecting, *kept):
            monkeypatch.setenv(name, "given")
        vendor(["six"], into=tmp_path / "out", target=ARM)
        for environment in runner.environments:
            assert not redirecting & set(environment)
            assert {environment[name] for name in kept} == {"given"}
            assert environment["PATH"] == os.environ["PATH"]


class TestDirectory:
    def test_is_filled(self, runner: FakeRunner, tmp_path: Path) -> None:
        done = vendor(["six"], into=str(tmp_path / "out"), target=ARM)
        assert [path.name for path in done.directory.iterdir()] == ["six.py"]
        assert list(tmp_path.iterdir()) == [tmp_path / "out"]
        assert len(runner.installs) == 1

    @pytest.mark.usefixtures("runner")
    def test_has_ordinary_permissions(self, tmp_path: Path) -> None:
        (tmp_path / "ordinary").mkdir()
        vendor(["six"], into=tmp_path / "out", target=ARM)
        assert (tmp_path / "out").stat().st_mode == (tmp_path / "ordinary").stat().st_mode

    @pytest.mark.usefixtures("runner")
    def test_may_be_empty_or_deep(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "empty").mkdir()
        for into in ("empty", "build/deep/out", "build/../b"):
            vendor(["six"], into=into, target=ARM)
            assert (tmp_path / into / "six.py").exists()

    @pytest.mark.parametrize("kind", ["full", "file", "symlink"])
    def test_must_be_absent_or_empty(self, runner: FakeRunner, tmp_path: Path, kind: str) -> None:
        out = tmp_path / "out"
        if kind == "full":
            project(out)
        elif kind == "file":
            out.write_text("")
        else:
            out.symlink_to(tmp_path / "nowhere")
        with pytest.raises(OutputError) as caught:
            vendor(["six"], into=out, target=ARM)
        assert caught.value.where == str(out)
        assert not runner.commands

    def test_cannot_be_made(self, runner: FakeRunner, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(OutputError):
            vendor(["six"], into=tmp_path / "file" / "out", target=ARM)
        assert not runner.installs

    def test_taken_meanwhile(self, runner: FakeRunner, tmp_path: Path) -> None:
        out = tmp_path / "out"

        def take(_: Path) -> None:
            project(out)

        runner.on_install = take
        with pytest.raises(OutputError):
            vendor(["six"], into=out, target=ARM)
        assert (out / "pyproject.toml").exists()
        assert list(tmp_path.iterdir()) == [out]


class TestFailure:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError, MemoryError])
    @pytest.mark.parametrize("empty", [True, False])
    def test_leaves_nothing(
        self,
        runner: FakeRunner,
        tmp_path: Path,
        error: type[BaseException],
        *,
        empty: bool,
    ) -> None:
        def interrupt(_: Path) -> None:
            raise error

        runner.on_install = interrupt
        out = tmp_path / "out" if empty else tmp_path / "build" / "out"
        if empty:
            out.mkdir()
        with pytest.raises((error, SlimError)):
            vendor(["six"], into=out, target=ARM)
        assert list(tmp_path.rglob("*")) == ([out] if empty else [])

    def test_of_the_installer(self, runner: FakeRunner, tmp_path: Path) -> None:
        noise = "WARNING: Location is ignored\n\n[notice] A new release of pip\n"
        runner.failure = ("", f"{noise}ERROR: No matching distribution\n  found for six==99\n")
        with pytest.raises(VendorError) as caught:
            vendor(["six==99"], into=tmp_path / "out", target=ARM)
        what = "uv 0.9.1 failed: ERROR: No matching distribution found for six==99"
        assert caught.value.what == what
        assert "python3.13 on arm64" in caught.value.fix
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("out", "err", "expected"),
        [
            ("", "", "exit status 1"),
            ("only here", " \n", "only here"),
            ("", "x" * 9999 + "\nthe end", "the end"),
        ],
    )
    def test_reason(
        self, runner: FakeRunner, tmp_path: Path, out: str, err: str, expected: str
    ) -> None:
        runner.failure = (out, err)
        with pytest.raises(VendorError) as caught:
            vendor(["six"], into=tmp_path / "out", target=ARM)
        assert caught.value.what.endswith(expected)
        assert len(caught.value.what) <= 500

    def test_of_an_old_uv(self, runner: FakeRunner, tmp_path: Path) -> None:
        runner.failure = ("", "error: invalid value 'x' for '--python-platform <P>'")
        with pytest.raises(VendorError, match="upgrade uv"):
            vendor(["six"], into=tmp_path / "out", target=ARM)


def test_run_captures_and_closes_stdin() -> None:
    program = (
        "import os, sys; print(len(sys.stdin.read()), os.environ['GIVEN']);"
        "sys.stderr.buffer.write(b'\\xff'); sys.exit(3)"
    )
    done = room._run((sys.executable, "-c", program), {**os.environ, "GIVEN": "yes"})
    assert (done.returncode, done.stdout.strip(), done.stderr) == (3, "0 yes", "\ufffd")


# --- real installations


@pytest.fixture(scope="session")
def uv_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a uv: of the one on PATH, else of one installed for the tests."""
    if found := shutil.which("uv"):
        return Path(found).parent
    home = tmp_path_factory.mktemp("uv")
    venv.create(home, with_pip=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    subprocess.run([scripts / "python", "-m", "pip", "install", "-q", "uv"], check=True)
    return scripts


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    """Each installer, with uv on PATH."""
    if request.param == "uv":
        scripts = request.getfixturevalue("uv_directory")
        monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
        return "uv"
    return "pip"


def versions(done: Vendored) -> dict[str, str]:
    """Return what was installed: name to version."""
    names = (path.name.removesuffix(".dist-info") for path in done.directory.glob("*.dist-info"))
    return dict(name.rsplit("-", 1) for name in names)


@pytest.mark.network
class TestReal:
    def test_pure(self, kind: Kind, tmp_path: Path) -> None:
        file = tmp_path / "requirements.txt"
        file.write_text("six==1.17.0\n")
        out = tmp_path / "out"
        done = vendor(into=out, target=ARM, requirement_files=[file], installer=kind)
        assert done.installer.startswith(f"{kind} ")
        assert versions(done) == {"six": "1.17.0"}
        assert sorted(path.name for path in out.iterdir()) == ["six-1.17.0.dist-info", "six.py"]

    def test_binary_wheels_are_the_targets(self, kind: Kind, tmp_path: Path) -> None:
        done = vendor(["pydantic-core"], into=tmp_path / "out", target=ARM, installer=kind)
        assert not versions(done)["pydantic_core"].startswith("0.")
        (extension,) = done.directory.glob("pydantic_core/*.so")
        assert extension.name == "_pydantic_core.cpython-313-aarch64-linux-gnu.so"

    def test_stable_abi(self, kind: Kind, tmp_path: Path) -> None:
        old = Target.of("python3.10", "x86_64")
        done = vendor(["psutil"], into=tmp_path / "out", target=old, installer=kind)
        (extension,) = done.directory.glob("psutil/*.so")
        assert extension.name.endswith(".abi3.so")
        assert extension.read_bytes()[18] == 62

    def test_local_project(self, kind: Kind, tmp_path: Path) -> None:
        place = project(tmp_path / "service", "Tiny.Local")
        file = tmp_path / "requirements.txt"
        file.write_text(f"{place}\n")
        for number in (1, 2):
            body = f"ANSWER = {number}\n"
            project(place, "Tiny.Local", body)
            out = tmp_path / f"out{number}"
            done = vendor(into=out, target=ARM, requirement_files=[file], installer=kind)
            assert (out / "tiny_local" / "__init__.py").read_text() == body
            assert set(versions(done)) == {"tiny_local", "six"}

    def test_local_project_as_argument(self, kind: Kind, tmp_path: Path) -> None:
        place = project(tmp_path / "service")
        done = vendor([f"-e {place}"], into=tmp_path / "out", target=ARM, installer=kind)
        assert set(versions(done)) == {"tiny_local", "six"}
        assert not list(done.directory.glob("*.pth"))

    def test_failure(self, kind: Kind, tmp_path: Path) -> None:
        with pytest.raises(VendorError) as caught:
            vendor(["six==0.0.999"], into=tmp_path / "b" / "out", target=ARM, installer=kind)
        assert "six==0.0.999" in caught.value.what
        assert not list(tmp_path.iterdir())
