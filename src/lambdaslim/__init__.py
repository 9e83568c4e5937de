"""Turn a directory of installed Python packages into the smallest working AWS Lambda package.

The names below are loaded when they are first used, so that `import lambdaslim` costs nothing.
"""

from __future__ import annotations

from importlib import import_module

# Type checkers take this name for true; importing typing for it would be most of the cost.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from lambdaslim import passes
    from lambdaslim.archive import Package, write_dir, write_zip
    from lambdaslim.companion import Companion
    from lambdaslim.errors import SlimError
    from lambdaslim.findings import Finding, Severity
    from lambdaslim.limits import check
    from lambdaslim.package import RefusedError, Slimmed, slim
    from lambdaslim.passes import Context, Pass
    from lambdaslim.pipeline import Change, Kept, Pipeline, Result
    from lambdaslim.presets import preset
    from lambdaslim.scanner import scan
    from lambdaslim.target import Target
    from lambdaslim.tracebacks import Restored, restore_tracebacks
    from lambdaslim.tree import Add, Decision, Entry, Keep, Remove, Replace, Tree
    from lambdaslim.verification import Checks, Failure, Verification, verify

__version__ = "0.1.0"

__all__ = [
    "Add",
    "Change",
    "Checks",
    "Companion",
    "Context",
    "Decision",
    "Entry",
    "Failure",
    "Finding",
    "Keep",
    "Kept",
    "Package",
    "Pass",
    "Pipeline",
    "RefusedError",
    "Remove",
    "Replace",
    "Restored",
    "Result",
    "Severity",
    "SlimError",
    "Slimmed",
    "Target",
    "Tree",
    "Verification",
    "check",
    "passes",
    "preset",
    "restore_tracebacks",
    "scan",
    "slim",
    "verify",
    "write_dir",
    "write_zip",
]

_HOMES = {
    "archive": ("Package", "write_dir", "write_zip"),
    "companion": ("Companion",),
    "errors": ("SlimError",),
    "findings": ("Finding", "Severity"),
    "limits": ("check",),
    "package": ("RefusedError", "Slimmed", "slim"),
    "passes": ("Context", "Pass"),
    "pipeline": ("Change", "Kept", "Pipeline", "Result"),
    "presets": ("preset",),
    "scanner": ("scan",),
    "target": ("Target",),
    "tracebacks": ("Restored", "restore_tracebacks"),
    "tree": ("Add", "Decision", "Entry", "Keep", "Remove", "Replace", "Tree"),
    "verification": ("Checks", "Failure", "Verification", "verify"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    """Load a public name from its module (PEP 562)."""
    if name == "passes":
        return import_module("lambdaslim.passes")
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})
