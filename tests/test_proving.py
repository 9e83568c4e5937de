"""A package that fails its verification says what it needs, and gets it if asked to."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lambdaslim
from disk import environment, populate
from lambdaslim import Checks, RefusedError
from lambdaslim.patterns import Patterns
from trees import PYTHON, dist, on_disk, tree_from

RUNTIME = f"python{PYTHON}"
READING = "import os\nopen(os.path.join(os.path.dirname(__file__), NAME)).close()\n"


@pytest.fixture
def fragile(tmp_path: Path) -> Path:
    """Return packages that need two sources and a distribution's metadata, each in its own way."""
    files = {
        "pkg/__init__.py": f"NAME = 'conf' + 'ig.p' + 'y'\n{READING}",
        "pkg/config.py": "x = 1\n",
        "pkg/other.py": "x = 1\n",
        "pkg/late.py": f"NAME = 'deep/da' + 'ta.p' + 'y'\n{READING}",
        "pkg/deep/__init__.py": "",
        "pkg/deep/data.py": "x = 1\n",
        "pkg/deep/more.py": "x = 1\n",
    }
    tree = tree_from(dist("pkg", "1.2", files), dist("helper", "3.0"))
    return on_disk(tree, tmp_path / "vendored")


def test_the_refusal_names_the_lines(fragile: Path, tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="verification-failed") as caught:
        lambdaslim.slim(fragile, tmp_path / "o.zip", runtime=RUNTIME, verify=Checks())
    diagnosis = caught.value.slimmed.diagnosis
    assert diagnosis is not None
    assert (diagnosis.keep, diagnosis.mended, diagnosis.minimal, diagnosis.why) == (
        ("/pkg/config.py", "/pkg/deep/data.py"),
        True,
        True,
        None,
    )
    assert diagnosis.by_pass == {"promote-bytecode": 2}
    assert not (tmp_path / "o.zip").exists()


def test_healing_writes_what_passes(fragile: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    done = lambdaslim.slim(fragile, out, runtime=RUNTIME, verify=Checks(), heal=True)
    assert done.verification is not None
    assert done.verification.failures == ()
    assert done.diagnosis is not None
    assert done.diagnosis.mended
    sources = {path.relative_to(out).as_posix() for path in out.rglob("*.py")}
    assert sources == {"pkg/config.py", "pkg/deep/data.py"}
    # The lines do the same without any verification.
    again = lambdaslim.slim(fragile, tmp_path / "again", runtime=RUNTIME, keep=done.diagnosis.keep)
    assert again.package.content_digest == done.package.content_digest


def test_a_command_shows_what_no_import_does(fragile: Path, tmp_path: Path) -> None:
    """Metadata that is asked for late."""
    text = "import importlib.metadata as m\nm.version('helper')\n"
    smoke = populate(tmp_path, {"smoke.py": text})
    checks = Checks(imports=False, run=f"python {smoke}/smoke.py")
    drop = ["*.dist-info/"]
    with pytest.raises(RefusedError) as caught:
        lambdaslim.slim(fragile, tmp_path / "o.zip", runtime=RUNTIME, verify=checks, drop=drop)
    diagnosis = caught.value.slimmed.diagnosis
    assert diagnosis is not None
    assert diagnosis.keep == ("/helper-*.dist-info/",)


def test_what_nothing_mends_is_said(tmp_path: Path) -> None:
    """A program that does not stand that anything is removed from its directory."""
    count = "import os\nassert len(os.listdir(os.path.dirname(__file__))) == 2, 'changed'\n"
    place = populate(tmp_path / "v", {"pkg/__init__.py": count, "pkg/a.py": "x = 1\n"})
    with pytest.raises(RefusedError) as caught:
        lambdaslim.slim(
            place, tmp_path / "o.zip", runtime=RUNTIME, bytecode="cached", verify=Checks()
        )
    diagnosis = caught.value.slimmed.diagnosis
    assert diagnosis is not None
    assert not diagnosis.mended
    assert diagnosis.why == "what mends it is to leave out the files that promote-bytecode added"


def test_healing_implies_a_verification(fragile: Path, tmp_path: Path) -> None:
    done = lambdaslim.slim(fragile, tmp_path / "o", runtime=RUNTIME, heal=True)
    assert done.verification is not None
    assert done.diagnosis is not None


def test_a_handler_has_the_variables_that_it_is_given(tmp_path: Path) -> None:
    place = populate(tmp_path / "v", {"app.py": "import os\nURL = os.environ['URL']\n"})
    checks = Checks(run="python -c 'import app; assert app.URL == \"x\"'", environment={"URL": "x"})
    done = lambdaslim.slim(place, tmp_path / "o", runtime=RUNTIME, verify=checks)
    assert done.verification is not None
    assert done.verification.checked["import"] == 1
    bare = lambdaslim.slim(place, tmp_path / "p", runtime=RUNTIME, verify=True)
    assert bare.verification is not None
    assert [note for note in bare.verification.notes if "not compared (app)" in note]


def test_what_scripts_and_headers_are_called_is_no_import_name(tmp_path: Path) -> None:
    files = {"pkg/__init__.py": "x = 1\n", "bin/pkg": "#!/usr/bin/python3\n", "include/a.h": ""}
    place = on_disk(tree_from(dist("pkg", files=files, top_level="")), tmp_path / "v")
    done = lambdaslim.slim(place, tmp_path / "o", runtime=RUNTIME, verify=True)
    assert done.verification is not None
    assert done.verification.failures == ()


@pytest.mark.parametrize("heal", [False, True])
def test_the_command_prints_lines_to_copy(
    fragile: Path,
    tmp_path: Path,
    heal: bool,  # noqa: FBT001 - a parameter
) -> None:
    out = tmp_path / "o.zip"
    command = [sys.executable, "-m", "lambdaslim", "pack", str(fragile), "-o", str(out)]
    options = ["--runtime", RUNTIME, "--heal" if heal else "--verify"]
    done = subprocess.run(
        [*command, *options], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, out.exists()) == ((0, True) if heal else (1, False)), done.stderr
    assert "  [tool.lambdaslim]\n  keep = [\n" in done.stdout
    lines = [json.loads(one) for one in re.findall(r'^      (".*"),$', done.stdout, re.MULTILINE)]
    assert Patterns(lines).match("pkg/config.py")
    assert "or: --keep /pkg/config.py --keep /pkg/deep/data.py\n" in done.stdout
