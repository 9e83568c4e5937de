"""What a package is built for: a runtime and an architecture."""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import Literal, cast

from lambdaslim import runtimes
from lambdaslim.errors import TargetError
from lambdaslim.runtimes import Runtime

Architecture = Literal["x86_64", "arm64"]

#: What `platform.machine()` says on each architecture.
_MACHINES: dict[str, str] = {"x86_64": "x86_64", "arm64": "aarch64"}


def parse_python(version: str) -> tuple[int, int]:
    """Return (3, 13) for "3.13" or "python3.13"; raise `TargetError` for anything else."""
    if match := re.fullmatch(r"(?:python)?(\d+)\.(\d+)", version):
        return int(match[1]), int(match[2])
    raise TargetError("is not a Python version", where=version, fix="write it like 3.13")


@dataclass(frozen=True, slots=True)
class Target:
    """A Lambda runtime on an architecture.

    >>> Target.of("python3.13").cache_tag
    'cpython-313'
    """

    runtime: Runtime
    architecture: Architecture = "x86_64"

    @classmethod
    def of(cls, runtime: str | None = None, architecture: str = "x86_64") -> Target:
        """Return a target by names; None means the runtime of the running interpreter.

        Raises:
            TargetError: an unknown runtime, or an architecture that it does not have.
        """
        found = runtimes.load(runtime or "python{}.{}".format(*sys.version_info[:2]))
        if architecture not in found.architectures:
            raise TargetError(
                f"is not an architecture of {found.name}",
                where=architecture,
                fix=f"choose one of {', '.join(found.architectures)}",
            )
        return cls(found, cast("Architecture", architecture))

    @property
    def python(self) -> tuple[int, int]:
        """The (major, minor) version of the runtime's interpreter."""
        return self.runtime.python

    @property
    def cache_tag(self) -> str:
        """The tag in the names of its cached bytecode, like `cpython-313`."""
        return "cpython-{}{}".format(*self.python)

    @property
    def machine(self) -> str:
        """What wheel tags and ELF tools call the architecture: x86_64 or aarch64."""
        return _MACHINES[self.architecture]

    def marker_environment(self) -> dict[str, str]:
        """Return the environment in which requirement markers hold (PEP 508), without `extra`.

        The patch release is unknown, since Lambda updates it without notice: `.0` is assumed.
        """
        version = "{}.{}".format(*self.python)
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{version}.0",
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Linux",
            "platform_version": "",
            "python_full_version": f"{version}.0",
            "python_version": version,
            "sys_platform": "linux",
        }
