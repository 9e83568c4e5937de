"""Lambda's limits, to the byte, and the names that other systems cannot hold.

"Row N" is the row of the catalogue of cases that a test covers.
"""

from __future__ import annotations

from typing import NoReturn

import pytest

from lambdaslim import Entry, Finding, Severity, SlimError, Tree, check
from lambdaslim.findings import KINDS
from lambdaslim.limits import LAYERS, UNZIPPED, ZIPPED, headroom

MIB = 1 << 20


class Unread:
    """Content that only has a size."""

    def read(self) -> NoReturn:
        pytest.fail("was read")


def sized(**sizes: int) -> Tree:
    """Make a tree of files that only have sizes; `__` in a name stands for a slash."""
    named = {name.replace("__", "/"): size for name, size in sizes.items()}
    return Tree(Entry(n, size, executable=False, content=Unread()) for n, size in named.items())


def named(*names: str) -> Tree:
    return Tree(Entry.of(name) for name in names)


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def test_the_limits_are_those_that_aws_names() -> None:
    assert (UNZIPPED, ZIPPED, LAYERS) == (250 * MIB, 50 * MIB, 5) == (262_144_000, 52_428_800, 5)


@pytest.mark.parametrize(("size", "fits"), [(0, True), (UNZIPPED - 1, True), (UNZIPPED, False)])
def test_a_function_must_be_smaller_than_the_limit(size: int, *, fits: bool) -> None:
    """Row 72: at the limit AWS refuses it."""
    findings = check(sized(a=size - size // 2, b=size // 2))
    assert codes(findings) == ([] if fits else ["limit-unzipped"])


@pytest.mark.parametrize(("size", "fits"), [(0, True), (ZIPPED - 1, True), (ZIPPED, False)])
def test_a_zip_must_be_smaller_than_the_limit(size: int, *, fits: bool) -> None:
    """Row 72."""
    findings = check(sized(a=1), zipped=size)
    assert codes(findings) == ([] if fits else ["limit-zipped"])


def test_what_is_heaviest_in_the_zip_is_named_where_the_zip_is_too_large() -> None:
    tree = sized(**{"a.so": 900, "b.so": 500})
    sizes = {"a.so": 10, "b.so": 20}
    (finding,) = check(tree, zipped=ZIPPED, compressed=sizes)
    assert finding.message.endswith("Heaviest in the zip: (your own files) 30.")
    (finding,) = check(tree, zipped=ZIPPED)
    assert finding.message.endswith("Heaviest unzipped: (your own files) 1,400.")


def test_an_upload_through_s3_has_no_limit_on_the_zip() -> None:
    assert check(sized(a=1), zipped=10 * ZIPPED, upload="s3") == ()
    assert codes(check(sized(a=UNZIPPED), zipped=ZIPPED, upload="s3")) == ["limit-unzipped"]


def test_both_limits_can_be_broken_at_once() -> None:
    assert codes(check(sized(a=UNZIPPED), zipped=ZIPPED)) == ["limit-unzipped", "limit-zipped"]


@pytest.mark.parametrize(("size", "fits"), [(0, True), (99 * MIB, True), (99 * MIB + 1, False)])
def test_layers_count_and_together_may_reach_the_limit(size: int, *, fits: bool) -> None:
    """Row 72: AWS says "exceeds", so the limit itself fits."""
    layers = [sized(x=100 * MIB), sized(y=51 * MIB)]
    findings = check(sized(a=size), layers=layers)
    assert codes(findings) == ([] if fits else ["limit-combined"])


def test_a_function_over_the_limit_alone_is_told_so_and_not_about_its_layers() -> None:
    assert codes(check(sized(a=UNZIPPED), layers=[sized(x=1)])) == ["limit-unzipped"]


@pytest.mark.parametrize(("count", "fits"), [(0, True), (5, True), (6, False)])
def test_a_function_has_at_most_five_layers(count: int, *, fits: bool) -> None:
    findings = check(sized(a=1), layers=[sized(x=1)] * count)
    assert codes(findings) == ([] if fits else ["limit-layer-count"])


def test_another_way_to_upload_is_refused() -> None:
    with pytest.raises(SlimError) as caught:
        check(sized(a=1), upload="pigeon")  # type: ignore[arg-type]
    assert caught.value.where == "pigeon"


def test_the_message_has_exact_bytes_and_the_words_of_aws() -> None:
    """Row 72."""
    (finding,) = check(sized(a=UNZIPPED + 1234))
    assert "262,145,234 bytes unzipped" in finding.message
    assert "1,234 over the limit of 262,144,000" in finding.message
    assert "Unzipped size must be smaller than 262144000 bytes" in finding.message
    (finding,) = check(sized(a=1), zipped=ZIPPED + 1)
    assert "Zipped size must be smaller than 52428800 bytes" in finding.message
    (finding,) = check(sized(a=1), layers=[sized(x=UNZIPPED)])
    assert (
        "Function code combined with layers exceeds the maximum allowed size of 262144000 bytes."
        in finding.message
    )


def distribution(name: str, size: int) -> list[Entry]:
    metadata = f"{name}-1.0.dist-info"
    record = f"{name}/__init__.py,,\n{metadata}/METADATA,,\n{metadata}/RECORD,,\n"
    return [
        Entry(f"{name}/__init__.py", size, executable=False, content=Unread()),
        Entry.of(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"),
        Entry.of(f"{metadata}/RECORD", record),
    ]


def test_the_five_heaviest_distributions_are_named_heaviest_first() -> None:
    """Row 72."""
    entries = [entry for n in range(1, 8) for entry in distribution(f"d{n}", n * 50_000_000)]
    (finding,) = check(Tree(entries))
    names = finding.message.partition("Heaviest unzipped: ")[2]
    assert [word for word in names.split() if word.startswith("d")] == [
        "d7",
        "d6",
        "d5",
        "d4",
        "d3",
    ]
    assert "d7 350,000,1" in names, "its metadata counts"


def test_files_of_no_distribution_are_named_together() -> None:
    (finding,) = check(Tree([*distribution("d", 10), *sized(app=UNZIPPED).values()]))
    assert f"Heaviest unzipped: (your own files) {UNZIPPED:,}, d " in finding.message


def test_contents_are_not_read_to_compare_sizes() -> None:
    assert codes(check(sized(pkg__a=UNZIPPED, b=5))) == ["limit-unzipped"]


def test_the_headroom_is_what_is_left() -> None:
    assert headroom(UNZIPPED - 10, ZIPPED + 3).unzipped == 10
    assert headroom(UNZIPPED - 10, ZIPPED + 3).zipped == -3
    assert headroom(5, None).zipped is None
    assert headroom(5, layers=[sized(x=7), sized(y=8)]).unzipped == UNZIPPED - 20


def test_every_code_has_the_severity_that_makes_the_exit_code() -> None:
    errors = {code for code, kind in KINDS.items() if kind.severity is Severity.ERROR}
    limits = {"limit-unzipped", "limit-combined", "limit-zipped", "limit-layer-count"}
    compat = {"platform", "machine", "musl", "python", "glibc", "library-missing", "placeholder"}
    unfit = {f"compat-{what}" for what in compat}
    others = {"name-too-long", "bytecode-required", "verification-failed"}
    assert errors == limits | unfit | others


# Names


@pytest.mark.parametrize(
    "pair",
    [
        ("A.py", "a.py"),
        ("pkg/Readme", "pkg/README"),
        ("caf\N{LATIN SMALL LETTER E WITH ACUTE}.py", "cafe\u0301.py"),
        ("\N{LATIN CAPITAL LETTER E WITH ACUTE}", "e\u0301"),
        ("Pkg/a.py", "pkg/a.py"),
        ("X", "x/y"),
    ],
)
def test_names_that_other_systems_take_for_one_are_a_warning_that_names_both(
    pair: tuple[str, str],
) -> None:
    """Rows 15 and 16."""
    findings = check(named(*pair, "other.py"))
    assert {finding.code for finding in findings} == {"name-case-clash"}
    assert {finding.severity for finding in findings} == {Severity.WARNING}
    message = " ".join(finding.message for finding in findings)
    assert pair[0].partition("/")[0] in message
    assert pair[1].partition("/")[0] in message


def test_directories_that_clash_are_named_with_what_is_below() -> None:
    """Row 15."""
    assert [f.path for f in check(named("Pkg/a.py", "pkg/b.py"))] == ["pkg"]


@pytest.mark.parametrize("pair", [("a.py", "b.py"), ("a/x", "b/x"), ("a/A", "b/a"), ("é", "e")])
def test_names_that_differ_otherwise_are_no_clash(pair: tuple[str, str]) -> None:
    assert check(named(*pair)) == ()


@pytest.mark.parametrize(
    "name", ["CON", "con.txt", "pkg/AUX.py", "nul.tar.gz", "lpt1", "COM9.py", "prn/a", "a.", "b "]
)
def test_a_name_that_windows_cannot_extract_is_a_warning(name: str) -> None:
    """Row 17."""
    (finding,) = check(named(name))
    assert (finding.code, finding.severity) == ("name-reserved", Severity.WARNING)
    assert name.partition("/a")[0] in finding.message


@pytest.mark.parametrize(
    "name", ["console.py", "xcon", "com0", "com10", "lpt", "a.con", ".con", " a", "a b", "...a"]
)
def test_names_that_only_look_alike_are_fine(name: str) -> None:
    assert check(named(name)) == ()


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("n" * 255, True),
        ("n" * 256, False),
        ("é" * 127 + "n", True),
        ("é" * 128, False),
        ("d" * 255 + "/a", True),
        ("d" * 256 + "/a", False),
        ("d/" * 2042 + "n", True),
        ("d/" * 2042 + "nn", False),
    ],
)
def test_a_name_has_255_bytes_and_a_path_what_fits_below_var_task(name: str, *, fits: bool) -> None:
    """Row 19: /var/task/ and the path and a zero byte are 4,096 bytes."""
    findings = check(named(name))
    assert set(codes(findings)) == (set() if fits else {"name-too-long"})
    assert all(finding.severity is Severity.ERROR for finding in findings)
    assert all(len(finding.message) < 400 for finding in findings)
