from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import pytest

from lambdaslim import Entry, Pipeline, Result, SlimError, runtimes
from lambdaslim.passes import DropProvided, PromoteBytecode, StripMetadata
from trees import PYTHON, dist, tree_from, without

# python3.11's manifest: boto3 1.38.36, python-dateutil 2.9.0.post0, six and urllib3 of an
# unrecorded version, snapshot-restore-py 1.0.0. The tests that need them check it first.
RUNTIME = "python3.11"
HANDLER = "handler.py"
When = Literal["compatible", "always", "never"]


def drop(
    *items: Sequence[Entry] | str,
    runtime: str = RUNTIME,
    when: When = "compatible",
    architecture: str = "x86_64",
) -> Result:
    tree = tree_from(HANDLER, *items)
    return Pipeline((DropProvided(runtime, when, architecture),)).run(tree)


def dropped(result: Result) -> set[str]:
    """Return the distributions of which no file is left."""
    present = {name for path in result.after for name in _owners(result, path)}
    return set(result.distributions) - present


def _owners(result: Result, path: str) -> set[str]:
    return {owner.name for owner in result.distributions.owners.get(path, ())}


def codes(result: Result) -> list[str]:
    return [finding.code for finding in result.findings]


def provided(runtime: str) -> dict[str, tuple[str | None, str | None]]:
    return {row.distribution: (row.version, row.unit) for row in runtimes.load(runtime).provided}


def test_the_manifest_is_what_these_tests_take_it_for() -> None:
    rows = provided(RUNTIME)
    assert rows["boto3"] == ("1.38.36", "sdk")
    assert rows["python-dateutil"] == ("2.9.0.post0", "sdk")
    assert rows["urllib3"] == rows["six"] == (None, "sdk")
    assert rows["snapshot-restore-py"] == ("1.0.0", "snapstart")


def test_all_of_the_unit_goes() -> None:
    members = {n: str(v or "1") for n, (v, unit) in provided(RUNTIME).items() if unit == "sdk"}
    result = drop(*(dist(name, version.partition(".")[0]) for name, version in members.items()))
    assert list(result.after) == [HANDLER]
    assert Counter(codes(result)) == {"provided-replaces": 5, "provided-unknown": 2}


@pytest.mark.parametrize("name", sorted(n for n, (_, u) in provided(RUNTIME).items() if u == "sdk"))
def test_one_unmet_requirement_keeps_the_whole_unit(name: str) -> None:
    others = [dist(n) for n in ("boto3", "urllib3", "python-dateutil") if n != name]
    result = drop(dist(name), *others, dist("app", requires=[f"{name}>=99"]))
    assert result.changes == ()
    assert {kept.path for kept in result.kept} == set(result.distributions) - {"app"}
    assert all(f"app 1.0 requires {name}>=99" in kept.reason for kept in result.kept)


def test_requirements_inside_the_unit_do_not_count() -> None:
    result = drop(dist("boto3", "1.43", requires=["botocore>=1.43"]), dist("botocore", "1.43"))
    assert dropped(result) == {"boto3", "botocore"}


def test_several_unmet_requirements_are_counted() -> None:
    result = drop(
        dist("boto3"), dist("app", requires=["boto3>=2"]), dist("lib", requires=["boto3>3"])
    )
    assert [kept.reason for kept in result.kept] == [
        "the runtime provides boto3 1.38.36, but app 1.0 requires boto3>=2 (and 1 more)"
    ]


def test_compatible_drops_what_is_met() -> None:
    result = drop(dist("boto3", "1.40"), dist("app", requires=["boto3>=1.28,<2"]))
    assert dropped(result) == {"boto3"}


def test_always_drops_and_reports_what_is_unmet() -> None:
    result = drop(dist("boto3"), dist("app", requires=["boto3>=1.40"]), when="always")
    assert dropped(result) == {"boto3"}
    assert [f.message for f in result.findings if f.code == "provided-unmet"] == [
        "python3.11 provides boto3 1.38.36, but app 1.0 requires boto3>=1.40"
    ]


def test_never_drops_nothing() -> None:
    result = drop(dist("boto3"), when="never")
    assert (result.changes, result.kept, result.findings) == ((), (), ())


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(SlimError, match="choose compatible, always or never"):
        DropProvided(RUNTIME, "sometimes")  # type: ignore[arg-type]


@pytest.mark.parametrize(("runtime", "architecture"), [("python2.7", "x86_64"), (RUNTIME, "mips")])
def test_an_unknown_target_is_refused(runtime: str, architecture: str) -> None:
    with pytest.raises(SlimError, match="choose one of"):
        DropProvided(runtime, architecture=architecture)


def test_nothing_else_in_the_tree_keeps_the_unit() -> None:
    pipeline = Pipeline((DropProvided(RUNTIME),))
    result = pipeline.run(tree_from(dist("boto3"), dist("six", files=["six.py"])))
    assert result.changes == ()
    assert {kept.path for kept in result.kept} == {"boto3", "six"}


def test_a_runtime_that_provides_nothing_known_drops_nothing() -> None:
    assert provided("python3.15") == {}
    assert drop(dist("boto3"), runtime="python3.15").changes == ()


# Markers and extras.


@pytest.mark.parametrize(
    ("marker", "architecture", "counts"),
    [
        ("python_version >= '3.11'", "x86_64", True),
        ("python_version < '3.11'", "x86_64", False),
        ("python_full_version >= '3.12'", "x86_64", False),
        ("platform_machine == 'x86_64'", "x86_64", True),
        ("platform_machine == 'x86_64'", "arm64", False),
        ("platform_machine == 'aarch64'", "arm64", True),
        ("platform_machine == 'arm64'", "arm64", False),
        ("sys_platform == 'linux'", "x86_64", True),
        ("sys_platform == 'win32' or os_name == 'nt'", "x86_64", False),
        ("platform_python_implementation == 'PyPy'", "x86_64", False),
    ],
)
def test_markers_are_evaluated_for_the_target(
    marker: str,
    architecture: str,
    counts: bool,  # noqa: FBT001 - a parameter of the table
) -> None:
    app = dist("app", requires=[f"boto3>=99; {marker}"])
    result = drop(dist("boto3"), app, architecture=architecture)
    assert dropped(result) == (set() if counts else {"boto3"})


@pytest.mark.parametrize("name", ["platform_release", "platform_version"])
def test_markers_about_what_nobody_knows_do_not_crash(name: str) -> None:
    result = drop(dist("boto3"), dist("app", requires=[f"boto3>=1; {name} >= '5.0'"]))
    assert dropped(result) == {"boto3"}


def test_an_extra_asked_of_a_provided_distribution_keeps_it() -> None:
    result = drop(dist("urllib3", "2.5.0"), dist("app", requires=["urllib3[socks]"]))
    assert result.changes == ()
    assert "app 1.0 requires urllib3[socks]" in result.kept[0].reason


@pytest.mark.parametrize(("mine", "expected"), [("1.40", set()), ("1.28", {"boto3"})])
def test_a_requirement_of_an_extra_counts_if_the_tree_meets_it(
    mine: str, expected: set[str]
) -> None:
    app = dist("app", requires=["boto3>=1.39; extra == 'aws'"])
    assert dropped(drop(dist("boto3", mine), app)) == expected


def test_a_requirement_of_an_extra_for_another_python_does_not_count() -> None:
    line = "boto3>=1.39; extra == 'aws' and python_version < '3.9'"
    assert dropped(drop(dist("boto3", "1.40"), dist("app", requires=[line]))) == {"boto3"}


def test_a_met_requirement_of_an_extra_does_not_keep() -> None:
    app = dist("app", requires=["boto3>=1.28; extra == 'aws'"])
    assert dropped(drop(dist("boto3", "1.40"), app)) == {"boto3"}


# Versions.


def test_an_unrecorded_version_does_not_meet_a_specifier() -> None:
    result = drop(dist("urllib3", "2.5.0"), dist("app", requires=["urllib3>=1"]))
    assert result.changes == ()
    (kept,) = result.kept
    assert "urllib3 in a version that nobody recorded, but app 1.0 requires" in kept.reason


def test_an_unrecorded_version_serves_without_a_specifier() -> None:
    result = drop(dist("urllib3", "2.5.0"), dist("app", requires=["urllib3"]))
    assert dropped(result) == {"urllib3"}
    assert codes(result) == ["provided-unknown"]


def test_a_url_is_never_met() -> None:
    app = dist("app", requires=["boto3 @ https://example.com/boto3.zip"])
    assert drop(dist("boto3"), app).changes == ()


def test_a_newer_version_of_mine_is_reported() -> None:
    result = drop(dist("python-dateutil", "2.10.0", files=["dateutil/__init__.py"]))
    assert dropped(result) == {"python-dateutil"}
    (finding,) = result.findings
    assert (finding.code, finding.path) == ("provided-older", "python_dateutil-2.10.0.dist-info")
    assert "2.9.0.post0 in place of 2.10.0" in finding.message


def test_versions_are_compared_as_versions() -> None:
    assert codes(drop(dist("boto3", "1.9.0"))) == ["provided-replaces"]
    assert codes(drop(dist("boto3", "1.100.0"))) == ["provided-older"]


def test_a_version_of_mine_that_is_unknown_reads_well() -> None:
    result = drop(dist("boto3", "unknown"))
    assert dropped(result) == {"boto3"}
    assert "None" not in result.findings[0].message


def test_prereleases_count() -> None:
    app = dist("app", requires=["boto3>=1.38.0rc1,<1.39.dev0"])
    assert dropped(drop(dist("boto3", "1.38.1"), app)) == {"boto3"}


def test_names_of_requirements_are_normalised() -> None:
    app = dist("app", requires=["Python_DateUtil>=3"])
    assert drop(dist("python-dateutil", "3.0"), app).changes == ()


def test_a_malformed_requirement_keeps() -> None:
    result = drop(dist("boto3"), dist("app", requires=["Boto3>=1.*.oops"]))
    assert result.changes == ()
    assert "'Boto3>=1.*.oops' of app 1.0 cannot be read" in result.kept[0].reason


def test_a_malformed_requirement_on_something_else_does_not_matter() -> None:
    result = drop(dist("boto3"), dist("app", requires=["boto3-stubs>=1.*.oops", "=="]))
    assert dropped(result) == {"boto3"}


def test_requirements_of_every_duplicate_count() -> None:
    twice = dist("app", "1.0", requires=["boto3>=99"]), dist("app", "2.0", files=["app2.py"])
    assert drop(dist("boto3"), *twice).changes == ()


# What goes and what stays.


def test_the_snapstart_unit_is_another() -> None:
    sdk = dist("boto3"), dist("app", requires=["boto3>=99"])
    snapstart = dist("snapshot-restore-py", "1.0.0")
    assert dropped(drop(*sdk, snapstart)) == {"snapshot-restore-py"}
    needy = dist("lib", requires=["snapshot-restore-py>=2"])
    assert dropped(drop(dist("boto3"), needy, snapstart)) == {"boto3"}


@pytest.mark.parametrize("when", ["compatible", "always"])
@pytest.mark.parametrize("name", ["simplejson", "pip", "setuptools", "awslambdaric"])
def test_what_aws_does_not_document_is_never_dropped(name: str, when: When) -> None:
    assert name in provided("python3.9")
    result = drop(dist("boto3"), dist(name), runtime="python3.9", when=when)
    assert dropped(result) == {"boto3"}


@pytest.mark.parametrize(
    ("name", "info"),
    [
        ("python-dateutil", "python_dateutil-2.9.dist-info"),
        ("Python.DateUtil", "Python.DateUtil-2.9.dist-info"),
        ("python_dateutil", "python-dateutil-2.9.dist-info"),
    ],
)
def test_names_of_distributions_are_normalised(name: str, info: str) -> None:
    result = drop(dist(name, "2.9", ["dateutil/__init__.py"], info=info))
    assert list(result.after) == [HANDLER]


def test_directories_are_not_judged_by_their_names() -> None:
    result = drop("boto3/__init__.py", "six.py", dist("app"))
    assert result.changes == ()


def test_files_of_the_user_below_a_dropped_package_stay() -> None:
    result = drop(dist("boto3"), "boto3/mine.py")
    assert list(result.after) == ["boto3/mine.py", HANDLER]


def test_a_file_that_a_remaining_distribution_owns_too_stays() -> None:
    shared = dist("six", files={"six.py": "", "ns/__init__.py": ""})
    other = without(dist("app", files={"app.py": "", "ns/__init__.py": ""}), "__init__.py")
    result = drop(shared, other)
    assert "six.py" not in result.after
    assert "ns/__init__.py" in result.after


def test_a_file_that_two_dropped_distributions_own_goes() -> None:
    shared = without(dist("boto3", files=["shared.py", "boto3.py"]), "shared.py")
    result = drop(dist("six", files=["shared.py", "six.py"]), shared)
    assert list(result.after) == [HANDLER]


@pytest.mark.parametrize("root", ["python", "python/lib/python3.11/site-packages"])
def test_a_layer_is_dropped_from_below_its_prefix(root: str) -> None:
    result = drop(dist("boto3", root=root), dist("app", root=root))
    assert dropped(result) == {"boto3"}


def test_cached_bytecode_goes_along() -> None:
    result = drop(dist("six", files=["six.py"]), "__pycache__/six.cpython-311.pyc")
    assert list(result.after) == [HANDLER]


def test_vendored_by_another_distribution_is_not_a_distribution() -> None:
    inner = dist("urllib3", root="pip/_vendor")
    outer = dist("pip", files={"pip/__init__.py": "", **{entry.path: "" for entry in inner}})
    result = drop(outer, dist("boto3"))
    assert dropped(result) == {"boto3"}
    assert "pip/_vendor/urllib3/__init__.py" in result.after


def test_vendored_by_the_user_inside_a_package_stays() -> None:
    # It is imported as app._vendor.urllib3, which no runtime provides.
    result = drop("app/__init__.py", "app/_vendor/__init__.py", dist("urllib3", root="app/_vendor"))
    assert result.changes == ()


def test_every_copy_goes() -> None:
    old, new = dist("boto3", "1.9.0"), dist("boto3", "1.10.0")
    result = drop(without(old, "__init__.py"), new)
    assert list(result.after) == [HANDLER]


def test_copies_in_two_places_go() -> None:
    result = drop(dist("boto3", "1.30"), dist("boto3", "1.30", root="python"))
    assert list(result.after) == [HANDLER]


def test_dropping_twice_changes_nothing_more() -> None:
    once = drop(dist("boto3", "1.9.0"), dist("boto3", "1.10.0", files=["boto3/new.py"]))
    again = Pipeline((DropProvided(RUNTIME),)).run(once.after)
    assert again.changes == ()


def test_metadata_may_be_gone_before() -> None:
    tree = tree_from(HANDLER, dist("boto3"), dist("app", requires=["boto3>=1"]))
    steps = StripMetadata("none"), DropProvided(RUNTIME)
    assert list(Pipeline(steps).run(tree).after) == ["app/__init__.py", HANDLER]


def test_sources_may_be_promoted_before() -> None:
    # Data without code would leave a broken package in front of the runtime's whole one.
    files = {"boto3/__init__.py": "x = 1\n", "boto3/data.json": "{}"}
    tree = tree_from(HANDLER, dist("boto3", files=files))
    steps = PromoteBytecode(PYTHON), DropProvided(f"python{PYTHON}")
    assert list(Pipeline(steps).run(tree).after) == [f"{HANDLER}c"]
