"""Fill a directory with what a Lambda function requires, by driving uv or pip for a target.

The installer runs here, the packages are for there: only wheels that load on the target's
interpreter, architecture and C library are accepted, and source distributions never are, since
they would be built for this machine. The one exception is a local project, which has no wheel.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args
from urllib.parse import urlsplit
from urllib.request import url2pathname

from lambdaslim.errors import OutputError, UsageError, VendorError
from lambdaslim.target import Target

_Kind = Literal["uv", "pip"]
Installer = Literal["auto", "uv", "pip"]

# The minor versions N of the `{x86_64,aarch64}-manylinux_2_N` choices of `--python-platform`, from
# `uv pip install --help` of uv 0.13.9; uv 0.6.0 has the same ones, 0.5.0 stops at 31.
_UV_MANYLINUX = (17, 28, *range(31, 41))

# The names that manylinux platforms had before PEP 600, by the glibc minor version they stand for
# (PEPs 513, 571 and 599). Those below 17 were never defined for aarch64.
_LEGACY_MANYLINUX = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
_OLDEST_MANYLINUX = {"x86_64": 5, "aarch64": 17}

# Variables that would install somewhere else, something else, or for something else than asked.
# Those that choose an index, a proxy, a cache or constraints are the caller's and are kept.
_REDIRECTING = frozenset(
    {
        "PYTHONHOME",
        "PYTHONPATH",
        *(
            f"PIP_{option}"
            for option in (
                *("ABI", "DRY_RUN", "EDITABLE", "IMPLEMENTATION", "NO_BINARY", "ONLY_BINARY"),
                *("PLATFORM", "PREFIX", "PYTHON", "PYTHON_VERSION", "REQUIREMENT"),
                *("REQUIRE_VIRTUALENV", "ROOT", "TARGET", "USER"),
            )
        ),
        *(
            f"UV_{option}"
            for option in (
                *("COMPILE_BYTECODE", "PREFIX", "PYTHON", "PYTHON_PLATFORM", "SYSTEM_PYTHON"),
                *("TARGET", "WORKING_DIR", "WORKING_DIRECTORY"),
            )
        ),
        # Colours would end up in the text of errors.
        *("CLICOLOR_FORCE", "FORCE_COLOR"),
    }
)

_LONGEST_REASON = 440
_NOISE = ("WARNING:", "DEPRECATION:", "[notice]", "note:", "Using CPython", "Using Python")

_EDITABLE = re.compile(r"(?:-e(?=[\s=./\\])|--editable(?=[\s=]))[\s=]*(?P<place>.+)")
_NAMED = re.compile(r"[A-Za-z0-9][\w.-]*\s*(?:\[[^]]*\]\s*)?@\s*(?P<place>.+)")
# What may follow the place of a requirement: extras, a marker, a comment, options.
_SUFFIX = re.compile(r"\[|\s*;|\s+#|\s+--")


@dataclass(frozen=True, slots=True)
class Vendored:
    """What was done.

    Attributes:
        directory: the directory that was filled, as it was given.
        installer: name and version of what filled it, like "uv 0.13.9".
        command: what was run, with `directory` in place of the temporary directory beside it.
        caveats: sentences on why the result may not fit the target; none when uv was used.
    """

    directory: Path
    installer: str
    command: tuple[str, ...]
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Tool:
    kind: _Kind
    command: tuple[str, ...]
    version: str


def vendor(  # noqa: PLR0913 - all but the first are keywords
    requirements: Sequence[str] = (),
    *,
    into: str | os.PathLike[str],
    target: Target,
    requirement_files: Sequence[str | os.PathLike[str]] = (),
    installer: Installer = "auto",
    extra_arguments: Sequence[str] = (),
) -> Vendored:
    """Install requirements, and those of requirement files, for `target` in the directory `into`.

    A requirement is what uv and pip take: a specifier (PEP 508) or the path of a wheel or of a
    local project (`.`, `./service[extra]`; an `-e` before it is ignored, since an editable
    installation leaves only a path). Relative paths count from the working directory, also
    those in requirement files. `extra_arguments` are given to the installer as they are.

    uv is preferred: on `PATH`, then as a module of the running interpreter; else pip is used,
    as a module of the running interpreter. **pip evaluates environment markers for this machine**:
    with another Python version, system or architecture than the target's, a requirement like
    `tomli; python_version < "3.11"` may be missing or superfluous; then `caveats` says so. pip
    also accepts whatever a local project builds, even extension modules for this machine.

    `into` must be absent or an empty directory. It is filled at once when all has succeeded; after
    a failure, Ctrl-C included, nothing is left behind.

    Raises:
        UsageError: no requirement, an unreadable requirement file, an option or an editable
            requirement where none can be, a local project without a name; nothing was run.
        OutputError: `into` is not absent or empty, or cannot be written.
        VendorError: there is no installer, or it failed.
    """
    wanted = tuple(_plain(requirement) for requirement in requirements)
    lines = tuple(line for file in requirement_files for line in _lines(file))
    if not wanted and not lines:
        raise UsageError("nothing to install", fix="name a requirement or a requirement file")
    destination = _destination(Path(into))
    environment = _environment(os.environ)
    tool = _find(installer, environment)
    options = (*_options(tool, target, (*wanted, *lines)), *extra_arguments)
    sources = (*(item for file in requirement_files for item in ("-r", os.fspath(file))), *wanted)
    with _staged(destination) as staging:
        _install(tool, (*options, "--target", str(staging), *sources), environment, target)
        # uv's own lock, writable by everybody.
        (staging / ".lock").unlink(missing_ok=True)
    command = (*tool.command, "install", *options, "--target", os.fspath(into), *sources)
    return Vendored(Path(into), tool.version, command, _caveats(tool, target))


# --- what to install


def _plain(requirement: str) -> str:
    """Return a requirement without `-e`; raise `UsageError` for an option or nothing."""
    text = requirement.strip()
    if match := _EDITABLE.fullmatch(text):
        text = match["place"].strip()
    if not text:
        raise UsageError("a requirement is empty", fix="leave it out")
    if text.startswith("-"):
        raise UsageError(
            "is an option, not a requirement",
            where=text,
            fix="give options as extra arguments and files as requirement files",
        )
    return text


def _lines(file: str | os.PathLike[str]) -> tuple[str, ...]:
    """Return the lines of a requirement file, without blank ones and comments."""
    try:
        # The installer knows the real encoding; what matters here is ASCII, or a path.
        text = Path(file).read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror or error}",
            where=os.fspath(file),
            fix="name a requirement file that exists",
        ) from error
    stripped = (line.strip() for line in text.splitlines())
    lines = tuple(line for line in stripped if line and not line.startswith("#"))
    for line in lines:
        if _EDITABLE.fullmatch(line):
            raise UsageError(
                f"has an editable requirement ({line}), which would package only a path",
                where=os.fspath(file),
                fix="write it without -e",
            )
    return lines


def _local_project(requirement: str) -> Path | None:
    """Return the existing directory that a requirement means, or None."""
    match = _NAMED.fullmatch(requirement)
    place = match["place"] if match else requirement
    for text in (place, _SUFFIX.split(place, maxsplit=1)[0]):
        if text.startswith("file:"):
            directory = Path(url2pathname(urlsplit(text).path))
        # Like the installers: a bare `six` is a name, even beside a directory of that name.
        elif text.startswith(".") or any(mark in text for mark in (os.sep, os.altsep) if mark):
            directory = Path(text)
        else:
            continue
        if directory.is_dir():
            return directory
    return None


def _project_name(directory: Path) -> str:
    """Return `[project].name` of a local project; raise `UsageError` when there is none."""
    file = directory / "pyproject.toml"
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    except ValueError as error:
        problem = f"is not valid TOML: {error}"
    else:
        project = document.get("project")
        name = project.get("name") if isinstance(project, dict) else None
        if isinstance(name, str) and name:
            return name
        problem = "has no [project] name, without which uv cannot be told to build it"
    raise UsageError(
        problem,
        where=str(file),
        fix="add it, or build a wheel of the project and require the wheel's path",
    )


# --- how to install it


def _options(tool: _Tool, target: Target, requirements: Iterable[str]) -> tuple[str, ...]:
    if tool.kind == "pip":
        return _pip_options(target)
    directories = (_local_project(requirement) for requirement in requirements)
    names = (_project_name(directory) for directory in directories if directory)
    return (*_uv_options(target), *(part for name in names for part in _uv_build(name)))


def _uv_options(target: Target) -> tuple[str, ...]:
    platforms = (minor for minor in _UV_MANYLINUX if minor <= target.runtime.glibc[1])
    return (
        # A working directory may hold a virtual environment of its own; it plays no part.
        *(("--python", sys.executable) if sys.executable else ()),
        "--python-platform",
        f"{target.machine}-manylinux_2_{max(platforms)}",
        "--python-version",
        "{}.{}".format(*target.python),
        "--only-binary",
        ":all:",
        "--no-installer-metadata",
        "--no-compile-bytecode",
        # By default files are hard links into uv's cache: writing to one would corrupt the cache.
        "--link-mode",
        "copy",
    )


def _uv_build(name: str) -> tuple[str, ...]:
    """Let uv build a local project, and build it anew: uv does not see that sources changed."""
    return "--no-binary", name, "--refresh-package", name


def _pip_options(target: Target) -> tuple[str, ...]:
    """Return pip's options, without `--no-binary`: pip refuses it here, and does not need it."""
    major, minor = target.python
    return (
        *(part for tag in _pip_platforms(target) for part in ("--platform", tag)),
        *("--implementation", "cp", "--python-version", f"{major}.{minor}"),
        # pip would derive these, but with the flags (debug, free-threaded) of its interpreter.
        *("--abi", f"cp{major}{minor}", "--abi", "abi3", "--abi", "none"),
        *("--only-binary", ":all:", "--no-compile"),
        *("--no-input", "--disable-pip-version-check"),
    )


def _pip_platforms(target: Target) -> Iterator[str]:
    """Yield every platform tag the target takes, best first: pip does not widen a tag."""
    oldest = _OLDEST_MANYLINUX[target.machine]
    for minor in range(target.runtime.glibc[1], oldest - 1, -1):
        yield f"manylinux_2_{minor}_{target.machine}"
        if minor in _LEGACY_MANYLINUX:
            yield f"{_LEGACY_MANYLINUX[minor]}_{target.machine}"


def _caveats(tool: _Tool, target: Target) -> tuple[str, ...]:
    here, there = _host(), ("{}.{}".format(*target.python), "linux", target.machine)
    if tool.kind == "uv" or here == there:
        return ()
    return (
        "pip evaluated environment markers for Python {} on {} {}".format(*here)
        + " instead of Python {} on {} {}".format(*there)
        + ", so packages may be missing or superfluous; install uv to be sure",
    )


def _host() -> tuple[str, str, str]:
    """Return what markers depend on here: Python version, system, machine."""
    return "{}.{}".format(*sys.version_info[:2]), sys.platform, platform.machine()


# --- who installs it


def _find(installer: Installer, environment: Mapping[str, str]) -> _Tool:
    """Return the first installer that runs; raise `VendorError` when none does."""
    if installer not in get_args(Installer):
        raise UsageError("is not an installer", where=str(installer), fix="choose auto, uv or pip")
    for kind, command in _candidates():
        if installer in ("auto", kind) and (version := _version(command, environment)):
            return _Tool(kind, (*command, "pip") if kind == "uv" else command, version)
    ways = {
        "uv": "install uv where it is found on PATH, or into this environment (pip install uv)",
        "pip": "add pip to this environment (python -m ensurepip)",
    }
    if installer == "auto":
        raise VendorError("neither uv nor pip can be run", fix=f"{ways['uv']}, or {ways['pip']}")
    raise VendorError(f"{installer} cannot be run", fix=ways[installer])


def _candidates() -> Iterator[tuple[_Kind, tuple[str, ...]]]:
    if uv := shutil.which("uv"):
        yield "uv", (uv,)
    for module in get_args(_Kind):
        if sys.executable and importlib.util.find_spec(module):
            # -P: the working directory may hold modules named like those of the installer.
            yield module, (sys.executable, "-P", "-m", module)


def _version(command: tuple[str, ...], environment: Mapping[str, str]) -> str | None:
    """Return "uv 0.13.9", or None when the command is a shim or a leftover that does not run."""
    try:
        done = _run((*command, "--version"), environment)
    except OSError:
        return None
    return " ".join(done.stdout.split()[:2]) if done.returncode == 0 else None


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables for the installer: all but those that redirect it."""
    kept = {name: value for name, value in variables.items() if name not in _REDIRECTING}
    if certificates := kept.get("PIP_CERT"):
        # uv asks for no setting of pip's, and whoever gave pip certificates needs them.
        kept.setdefault("SSL_CERT_FILE", certificates)
    return {**kept, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"}


def _run(
    command: Sequence[str], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, without a shell or input; every process starts here."""
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _install(
    tool: _Tool, arguments: tuple[str, ...], environment: Mapping[str, str], target: Target
) -> None:
    # Its own temporary files go with ours, even if it is killed.
    with TemporaryDirectory(prefix="lambdaslim-", ignore_cleanup_errors=True) as scratch:
        inside = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), scratch)
        done = _started(tool, arguments, {**environment, **inside})
    if done.returncode:
        reason = _reason(done.stderr) or _reason(done.stdout) or f"exit status {done.returncode}"
        raise VendorError(f"{tool.version} failed: {reason}", fix=_remedy(done.stderr, target))


def _started(
    tool: _Tool, arguments: tuple[str, ...], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    try:
        return _run((*tool.command, "install", *arguments), environment)
    except (OSError, ValueError) as error:
        raise VendorError(
            f"{tool.version} cannot be started: {error}", fix="shorten or correct its arguments"
        ) from error


def _reason(output: str) -> str:
    """Return the last meaningful lines of the installer's output as one line."""
    stripped = (line.strip() for line in output.splitlines())
    lines = (line for line in stripped if line and not line.startswith(_NOISE))
    reason = " ".join(lines).rstrip(".")
    return reason if len(reason) <= _LONGEST_REASON else f"...{reason[3 - _LONGEST_REASON :]}"


def _remedy(output: str, target: Target) -> str:
    if "'--python-platform" in output or "unexpected argument" in output:
        return "upgrade uv, and check the extra arguments"
    return (
        "check the requirements and the connection to the index, and that each requirement has"
        f" a wheel for {target.runtime.name} on {target.architecture}; where there is none, build"
        " one and require its path"
    )


# --- where to install it


def _destination(into: Path) -> Path:
    """Return the absolute path of `into`; raise `OutputError` unless it is absent or empty."""
    try:
        if into.is_symlink():
            problem = "is a symlink"
        elif not into.exists():
            return into.resolve()
        elif not into.is_dir():
            problem = "is not a directory"
        elif not any(into.iterdir()):
            return into.resolve()
        else:
            problem = "is not empty"
    except OSError as error:
        problem = f"cannot be read: {error.strerror or error}"
    raise OutputError(problem, where=str(into), fix="name a new or an empty directory")


@contextmanager
def _staged(destination: Path) -> Iterator[Path]:
    """Yield a new directory that becomes `destination` unless the block raises."""
    try:
        with (
            _parents(destination.parent),
            TemporaryDirectory(
                prefix=".lambdaslim-", dir=destination.parent, ignore_cleanup_errors=True
            ) as holder,
        ):
            # The temporary directory is private (0700), a directory made in it is not.
            staging = Path(holder) / "tree"
            staging.mkdir()
            yield staging
            if destination.exists():  # Windows does not rename over an empty directory
                destination.rmdir()
            staging.rename(destination)
    except OSError as error:
        raise OutputError(
            f"cannot be written: {error.strerror or error}",
            where=str(destination),
            fix="choose a directory that can be written and is not in use",
        ) from error


@contextmanager
def _parents(directory: Path) -> Iterator[None]:
    """Make `directory` and its parents, and take back those that were made if the block raises."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    try:
        directory.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise
