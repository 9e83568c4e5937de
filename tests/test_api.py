"""The public names: which they are, what they say of themselves, and what importing them costs."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import pickle
import pkgutil
import re
import statistics
import time
import typing
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path

import pytest

import lambdaslim
from disk import run_python
from lambdaslim.errors import SlimError

PUBLIC = [
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
PASSES = [
    "ALL",
    "Context",
    "DropProvided",
    "Exclude",
    "Pass",
    "PromoteBytecode",
    "PruneData",
    "RecompressGzip",
    "StripBytecode",
    "StripDocstrings",
    "StripDocumentation",
    "StripDuplicateData",
    "StripElf",
    "StripInstallerLeftovers",
    "StripMetadata",
    "StripSources",
    "StripTests",
    "StripTyping",
]
FUNCTIONS = [name for name in PUBLIC if inspect.isfunction(getattr(lambdaslim, name))]
CLASSES = [
    *(getattr(lambdaslim, name) for name in PUBLIC if inspect.isclass(getattr(lambdaslim, name))),
    *lambdaslim.passes.ALL,
]
MOST_MILLISECONDS = 60


def named(thing: type) -> str:
    """Name a class in the names of tests."""
    return thing.__name__


def test_the_public_list() -> None:
    assert lambdaslim.__all__ == PUBLIC
    assert lambdaslim.passes.__all__ == PASSES


def test_functions_are_found() -> None:
    assert FUNCTIONS == [
        "check",
        "preset",
        "restore_tracebacks",
        "scan",
        "slim",
        "verify",
        "write_dir",
        "write_zip",
    ]


@pytest.mark.parametrize("name", PUBLIC)
def test_every_name_loads_and_is_listed(name: str) -> None:
    assert getattr(lambdaslim, name) is getattr(lambdaslim, name)
    assert name in dir(lambdaslim)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'slimm'"):
        _ = lambdaslim.slimm


def test_the_version_is_the_distributions() -> None:
    try:
        installed = distribution("lambdaslim")
    except PackageNotFoundError:
        pytest.skip("the tests run on a source tree")
    assert installed.version == lambdaslim.__version__
    assert any(path.as_posix() == "lambdaslim/py.typed" for path in installed.files or ())


def test_the_type_marker_is_shipped() -> None:
    assert (files("lambdaslim") / "py.typed").is_file()


class TestDocstrings:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_a_function_names_its_parameters_and_errors(self, name: str) -> None:
        function = getattr(lambdaslim, name)
        text = inspect.getdoc(function) or ""
        assert set(inspect.signature(function).parameters) <= set(re.findall(r"\w+", text))
        assert "Raises:" in text or "raise `" in text

    @pytest.mark.parametrize("kind", CLASSES, ids=named)
    def test_a_class_says_what_it_is(self, kind: type) -> None:
        # Without a docstring of its own a dataclass gets its signature, others their base's.
        text = vars(kind).get("__doc__") or ""
        assert text
        assert not text.startswith(f"{kind.__name__}(")

    @pytest.mark.parametrize("kind", CLASSES, ids=named)
    def test_its_public_methods_say_what_they_do(self, kind: type) -> None:
        undocumented = [n for n, method in _methods(kind) if not inspect.getdoc(method)]
        assert not undocumented

    @pytest.mark.parametrize("kind", lambdaslim.passes.ALL, ids=named)
    def test_a_pass_describes_its_options(self, kind: type[lambdaslim.Pass]) -> None:
        assert dataclasses.is_dataclass(kind)
        options = [field.name for field in dataclasses.fields(kind) if field.init]
        missing = [name for name in options if f"{name}:" not in (kind.__doc__ or "")]
        assert not missing


class TestTypes:
    @pytest.mark.parametrize("name", FUNCTIONS)
    def test_a_function_is_annotated(self, name: str) -> None:
        assert not _without_types(getattr(lambdaslim, name))

    @pytest.mark.parametrize("kind", CLASSES, ids=named)
    def test_a_class_is_annotated(self, kind: type) -> None:
        untyped = {name: _without_types(method) for name, method in _methods(kind)}
        assert not {name: found for name, found in untyped.items() if found}


def _methods(kind: type) -> Iterator[tuple[str, Callable[..., object]]]:
    for name, member in vars(kind).items():
        function = member.fget if isinstance(member, property) else member
        function = getattr(function, "__func__", function)
        if not name.startswith("_") and inspect.isfunction(function):
            yield name, function


def _without_types(function: Callable[..., object]) -> set[str]:
    hints = typing.get_type_hints(function)
    return {*inspect.signature(function).parameters, "return"} - {*hints, "self", "cls"}


class TestImport:
    HEAVY = ("pathspec", "packaging", "argparse", "zipfile", "subprocess", "importlib.metadata")

    def test_nothing_heavy_is_loaded(self) -> None:
        done = run_python(
            "import json, sys; before = set(sys.modules); import lambdaslim\n"
            "print(json.dumps(sorted(set(sys.modules) - before)))"
        )
        loaded = json.loads(done.stdout)
        assert "lambdaslim" in loaded
        assert [name for name in self.HEAVY if name in loaded] == []

    def test_using_a_name_loads_what_it_needs(self) -> None:
        done = run_python(
            "import lambdaslim, sys; lambdaslim.slim; print('pathspec' in sys.modules)"
        )
        assert done.stdout == "True\n", done.stderr

    def test_the_cost(self, record_property: Callable[[str, object], None]) -> None:
        bare, full = [], []
        for _ in range(7):
            bare.append(_milliseconds("pass"))
            full.append(_milliseconds("import lambdaslim"))
        cost = statistics.median(full) - statistics.median(bare)
        record_property("import_milliseconds", cost)
        print(f"import lambdaslim costs {cost:.1f} ms")  # noqa: T201 - the figure is of interest
        assert cost <= MOST_MILLISECONDS


def _milliseconds(code: str) -> float:
    start = time.perf_counter()
    assert run_python(code).returncode == 0
    return (time.perf_counter() - start) * 1000


def _family(kind: type[SlimError]) -> Iterator[type[SlimError]]:
    yield kind
    for derived in kind.__subclasses__():
        yield from _family(derived)


for _module in pkgutil.walk_packages(lambdaslim.__path__, "lambdaslim."):
    if not _module.name.endswith(("__main__", "compile_worker")):
        importlib.import_module(_module.name)
ERRORS = [
    kind
    for kind in _family(SlimError)
    if kind.__module__.startswith("lambdaslim") and kind is not lambdaslim.RefusedError
]


class TestErrors:
    def test_the_family_is_found(self) -> None:
        assert {"ScanError", "UsageError", "VendorError"} <= {kind.__name__ for kind in ERRORS}

    @pytest.mark.parametrize("kind", ERRORS, ids=named)
    def test_one_line_says_where_what_and_the_fix(self, kind: type[SlimError]) -> None:
        assert str(kind("is bad", where="a/b", fix="mend it")) == "a/b: is bad; mend it"
        assert str(kind("is bad", fix="mend it")) == "is bad; mend it"
        text = str(kind("is\nbad", where="\x1b[31m", fix="mend\rit"))
        assert text == r"\x1b[31m: is\nbad; mend\rit"

    @pytest.mark.parametrize("kind", ERRORS, ids=named)
    def test_pickles(self, kind: type[SlimError]) -> None:
        error = kind("is bad", where="a/b", fix="mend it")
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert type(again) is kind
        assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))

    @pytest.mark.parametrize("kind", ERRORS, ids=named)
    def test_has_a_docstring(self, kind: type[SlimError]) -> None:
        assert vars(kind).get("__doc__")

    def test_a_refusal_carries_its_findings_and_pickles(self, small: Path, tmp_path: Path) -> None:
        with pytest.raises(lambdaslim.RefusedError) as caught:
            lambdaslim.slim(small, tmp_path / "out.zip", layers=[small] * 6)
        error = caught.value
        assert [finding.code for finding in error.findings] == ["limit-layer-count"]
        assert str(error).startswith("limit-layer-count: 6 layers; a function can have 5.")
        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
        assert (str(again), again.findings) == (str(error), error.findings)
        assert again.slimmed.package == error.slimmed.package
