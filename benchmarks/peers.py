"""The other tools that make Lambda packages, each installed at a pinned version below `.cache`.

Every peer gets the same pinned requirements and makes a zip of them, with the options that make its
packages smallest. A peer that cannot be installed, or fails, raises `PeerError` with the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import corpora

PEERS = corpora.CACHE / "peers"
# Two hours of nothing would be worse than a row that says so.
TIMEOUT = 1200

SERVERLESS = ("serverless@3.40.0", "serverless-python-requirements@6.1.2")
UV = "uv==0.13.9"
PEX = "pex==2.105.2"
ZAPPA = "zappa==0.63.0"
# Its command imports a part of wheel that later versions lack.
PACKAGER = ("aws-lambda-python-packager==1.4.4", "wheel==0.45.1")

# What pip on this machine may choose; uv's guide says manylinux2014, for which some of the pinned
# versions do not exist.
UV_PLATFORM = "x86_64-manylinux_2_28"

HANDLER = "def app(environ, start_response):\n    return []\n"


class PeerError(Exception):
    """Why there is no package."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A contestant: how tables call it, and what makes a zip of a corpus in an empty directory."""

    title: str
    pack: Callable[[corpora.Corpus, Path], Path]


def run(command: list[str], directory: Path, **variables: str) -> None:
    """Run a command in a directory, or raise PeerError with what it said last."""
    environment = {**corpora.clean_environment(), **variables}
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerError(str(error)) from error
    if done.returncode:
        why = reason(f"{done.stdout}\n{done.stderr}")
        raise PeerError(f"{Path(command[0]).name} ended with {done.returncode}: {why[:160]}")


def reason(output: str) -> str:
    """Return the last line that says what went wrong: pip's, which others repeat at length."""
    said = [line.strip() for line in output.splitlines() if line.strip()]
    pip = [line[line.index("ERROR: ") :] for line in said if "ERROR: " in line]
    return (pip or said or ["nothing was said"])[-1]


def requirements(corpus: corpora.Corpus, directory: Path) -> Path:
    """Write the corpus's pins as a requirement file."""
    path = directory / "requirements.txt"
    path.write_text("\n".join(corpus.pins) + "\n", encoding="utf-8")
    return path


@cache
def environment(name: str, *packages: str) -> Path:
    """Return the directory of commands of an environment with a peer, made now or before."""
    place = PEERS / name
    mark = place / "installed"
    wanted = "\n".join(packages)
    if not mark.exists() or mark.read_text(encoding="utf-8") != wanted:
        PEERS.mkdir(parents=True, exist_ok=True)
        _new_environment(place, packages)
        mark.write_text(wanted, encoding="utf-8")
    return place / "bin"


def _new_environment(place: Path, packages: tuple[str, ...]) -> None:
    run([str(corpora.python()), "-m", "venv", "--clear", str(place)], PEERS)
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    run([*pip, *packages], PEERS)


@cache
def serverless_modules() -> Path:
    """Return the node_modules with serverless and its plugin, installed now or before."""
    place = PEERS / "serverless"
    mark = place / "installed"
    if not mark.exists() or mark.read_text(encoding="utf-8") != "\n".join(SERVERLESS):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        (place / "package.json").write_text('{"private": true}\n', encoding="utf-8")
        run(["npm", "install", "--no-audit", "--no-fund", *SERVERLESS], place)
        mark.write_text("\n".join(SERVERLESS), encoding="utf-8")
    return place / "node_modules"


def uv(corpus: corpora.Corpus, directory: Path) -> Path:
    """`uv pip install --target` and `zip`, as uv's guide for Lambda says, with zip's level 9."""
    target = ["--target", "packages", "--python-version", corpora.load().python]
    platform = ["--python-platform", UV_PLATFORM, "--only-binary", ":all:"]
    lean = ["--no-installer-metadata", "--no-compile-bytecode"]
    listed = ["-r", str(requirements(corpus, directory))]
    command = str(environment("uv", UV) / "uv")
    run([command, "pip", "install", *lean, *platform, *target, *listed], directory)
    run(["zip", "-r9q", "../package.zip", "."], directory / "packages")
    return directory / "package.zip"


def pex(corpus: corpora.Corpus, directory: Path) -> Path:
    """`pex3 venv create --layout flat-zipped`, as pex's documentation says for Lambda."""
    listed = ["-r", str(requirements(corpus, directory)), "--python", str(corpora.python())]
    layout = ["--layout", "flat-zipped", "--dest-dir", "package"]
    run([str(environment("pex", PEX) / "pex3"), "venv", "create", *layout, *listed], directory)
    return directory / "package.zip"


def serverless(corpus: corpora.Corpus, directory: Path) -> Path:
    """`serverless package` with the plugin's `slim` and `strip`."""
    requirements(corpus, directory)
    (directory / "handler.py").write_text(HANDLER, encoding="utf-8")
    (directory / "package.json").write_text('{"private": true}\n', encoding="utf-8")
    plugin = {
        "slim": True,
        "strip": True,
        "dockerizePip": False,
        "useStaticCache": False,
        "pythonBin": str(corpora.python()),
    }
    config = {
        "service": "bench",
        "frameworkVersion": "3",
        "provider": {"name": "aws", "runtime": corpora.load().runtime},
        "plugins": ["serverless-python-requirements"],
        "custom": {"pythonRequirements": plugin},
        "package": {"patterns": ["!node_modules/**", "!package.json", "!serverless.json"]},
        "functions": {"main": {"handler": "handler.app"}},
    }
    (directory / "serverless.json").write_text(json.dumps(config), encoding="utf-8")
    modules = serverless_modules()
    (directory / "node_modules").symlink_to(modules)
    quiet = {"SLS_NOTIFICATIONS_MODE": "off", "SLS_TELEMETRY_DISABLED": "1"}
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    run([str(modules / ".bin" / "serverless"), "package"], directory, **quiet, **keys)
    return directory / ".serverless" / "bench.zip"


# The command reads two documents from the web when it starts: the runtimes that exist, from a
# repository that AWS has closed, and what they provide. Both are answered from corpora.toml, so
# that the tool can show what it does.
LAUNCHER = """
import json, sys
import requests

python, *provided = sys.argv.pop(1).split(",")

class Answer:
    def __init__(self, text):
        self.text = text
    def raise_for_status(self):
        pass
    def json(self):
        return json.loads(self.text)

def get(address, **options):
    if "lambda-runtimes" in address:
        return Answer(f"| Python | `python{python}` | Linux | x86_64, arm64 | |")
    return Answer(json.dumps(dict(pin.split("==") for pin in provided)))

requests.get = get
from aws_lambda_python_packager.__main__ import main
main()
"""


def packager(corpus: corpora.Corpus, directory: Path) -> Path:
    """`lambda-packager build -OOOOO` without what loads other builds from the web."""
    project = directory / "project"
    project.mkdir()
    requirements(corpus, project)
    launcher = directory / "launcher.py"
    launcher.write_text(LAUNCHER, encoding="utf-8")
    commands = environment("aws-lambda-python-packager", *PACKAGER)
    known = ",".join((corpora.load().python, *corpora.load().provided))
    options = ["-OOOOO", "--no-update-dependencies", "--no-use-aws-pyarrow"]
    target = ["--python-version", corpora.load().python, f"--zip-output={directory}/package.zip"]
    command = [str(commands / "python"), str(launcher), known, "build", "project", "package"]
    # It runs the pip that it finds first.
    run([*command, *target, *options], directory, PATH=f"{commands}:/usr/bin:/bin")
    return directory / "package.zip"


def zappa(corpus: corpora.Corpus, directory: Path) -> Path:
    """`zappa package` in an environment with the corpus, where zappa and its needs are too."""
    project, place = directory / "project", directory / "environment"
    project.mkdir()
    (project / "handler.py").write_text(HANDLER, encoding="utf-8")
    settings = {
        "app_function": "handler.app",
        "aws_region": "us-east-1",
        "s3_bucket": "bench",
        "project_name": "bench",
        "runtime": corpora.load().runtime,
        "slim_handler": False,
    }
    (project / "zappa_settings.json").write_text(json.dumps({"dev": settings}), encoding="utf-8")
    _new_environment(place, (ZAPPA,))
    pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-deps"]
    run([*pip, "-r", str(requirements(corpus, directory))], directory)
    keys = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
    inside = {"VIRTUAL_ENV": str(place), "PATH": f"{place}/bin:/usr/bin:/bin"}
    command = [str(place / "bin" / "zappa"), "package", "dev", "--output", "package.zip"]
    run(command, project, **keys, **inside)
    return project / "package.zip"


ALL: tuple[Peer, ...] = (
    Peer("serverless-python-requirements 6.1.2, slim and strip", serverless),
    Peer("aws-lambda-python-packager 1.4.4, -OOOOO", packager),
    Peer("zappa 0.63.0", zappa),
    Peer("pex 2.105.2, flat-zipped", pex),
    Peer("uv 0.13.9 and zip -r9", uv),
)
