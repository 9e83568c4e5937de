"""Directories of installed packages: real ones, installed once for all tests, and a small one."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from disk import populate

ENTRY_POINTS = "[console_scripts]\nshapes = shapes.area:main\n"
SCRIPT = "#!/builder/venv/bin/python3\nimport sys\nfrom shapes.area import main\nsys.exit(main())\n"

#: A distribution with everything that a pass looks for. Nothing in it is provided by a runtime.
SMALL: dict[str, str] = {
    ".lock": "",
    "bin/shapes": SCRIPT,
    "handler.py": "import shapes\n\n\ndef main(event, context):\n    return shapes.area(2)\n",
    "shapes/__init__.py": "from shapes.area import area\nfrom shapes.keep.tests import SAMPLE\n",
    "shapes/__pycache__/area.cpython-36.pyc": "made by another interpreter",
    "shapes/area.py": '"""Areas."""\n\n\ndef area(side):\n return side * side\n\n\nmain = area\n',
    "shapes/data/table.csv": "side,area\n1,1\n",
    "shapes/keep/__init__.py": "",
    "shapes/keep/tests/__init__.py": "SAMPLE = 1\n",
    "shapes/tests/__init__.py": "",
    "shapes/tests/test_area.py": "from shapes import area\n\nassert area(2) == 4\n",
    "shapes-1.2.dist-info/INSTALLER": "pip\n",
    "shapes-1.2.dist-info/METADATA": (
        "Metadata-Version: 2.4\nName: shapes\nVersion: 1.2\n\nA long description.\n"
    ),
    "shapes-1.2.dist-info/entry_points.txt": ENTRY_POINTS,
    "shapes-1.2.dist-info/licenses/LICENSE": "Do as you like.\n",
}


def small_tree(directory: Path) -> Path:
    """Write the small distribution and a handler, as an installer would."""
    owned = [path for path in SMALL if path.startswith("shapes")]
    record = "".join(f"{path},,\n" for path in [*owned, "shapes-1.2.dist-info/RECORD"])
    return populate(directory, {**SMALL, "shapes-1.2.dist-info/RECORD": record})


def pins(directory: Path) -> tuple[str, ...]:
    """Return the requirements that install again exactly what is installed in a directory."""
    found = distributions(path=[str(directory)])
    return tuple(sorted(f"{one.name}=={one.version}" for one in found))


@dataclass(frozen=True, slots=True)
class Vendor:
    """Installs a set of requirements once per interpreter into `store`, for all tests to read."""

    store: Path

    def __call__(self, *requirements: str, python: Path | None = None) -> Path:
        """Return a directory with the requirements, bytecode included. Nobody may change it."""
        python = python or Path(sys.executable)
        place = self.store / _key(python, requirements)
        if place.exists():
            return place
        self.store.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.store) as scratch:
            staged = Path(scratch) / "staged"
            _install(python, staged, requirements)
            # Whole or not at all. If another process was first, its directory serves as well.
            with suppress(OSError):
                staged.rename(place)
        return place


def _install(python: Path, directory: Path, requirements: tuple[str, ...]) -> None:
    """Install with the test's own pip, which also serves interpreters without one."""
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    options = ["--disable-pip-version-check", "--only-binary=:all:", "--target", str(directory)]
    # What the caller says to his own Python would reach the other one too, or keep bytecode away.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [*pip, *options, *requirements],
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def _key(python: Path, requirements: tuple[str, ...]) -> str:
    digest = hashlib.sha256("\n".join(requirements).encode()).hexdigest()[:12]
    first = re.sub(r"[^a-z0-9]+", "-", requirements[0].lower()).strip("-")
    return f"{_version(python)}-{first}-{digest}"


@cache
def _version(python: Path) -> str:
    ask = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    return subprocess.check_output([python, "-I", "-c", ask], text=True).strip()
