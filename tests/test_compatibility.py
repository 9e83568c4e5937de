"""Does a tree fit a runtime: every code, what is no alarm, real wheels for other targets."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import lambdaslim
from elves import MACH_O, PE, elf, extension
from lambdaslim import Entry, Finding, RefusedError, SlimError, Target, Tree, scan
from lambdaslim.compatibility import check_compatibility
from lambdaslim.distributions import Distributions
from lambdaslim.errors import DataError
from lambdaslim.knowledge import Knowledge, parse_binary
from trees import Data, dist, on_disk, tree_from, without

X86 = Target.of("python3.11")
ARM = Target.of("python3.13", "arm64")
TAG = "cpython-311-x86_64-linux-gnu"
LINUX = "cp311-cp311-manylinux_2_17_x86_64"


def wheel(name: str, files: Mapping[str, Data], tag: str = LINUX, **parts: object) -> list[Entry]:
    """Return an installed distribution whose WHEEL states a tag."""
    entries = dist(name, files=files, **parts)  # type: ignore[arg-type]
    text = f"Wheel-Version: 1.0\nTag: {tag}\n"
    others = [entry for entry in entries if entry.name != "WHEEL"]
    return [*others, Entry.of(f"{name.replace('-', '_')}-1.0.dist-info/WHEEL", text)]


def check(
    *items: str | Entry | Mapping[str, Data] | list[Entry], target: Target = X86
) -> list[str]:
    return [finding.code for finding in found(*items, target=target)]


def found(
    *items: str | Entry | Mapping[str, Data] | list[Entry], target: Target = X86
) -> tuple[Finding, ...]:
    return check_compatibility(tree_from(*items), target)


# What fits


@pytest.mark.parametrize(
    ("name", "target"),
    [
        (f"_x.{TAG}.so", X86),
        ("_x.abi3.so", X86),
        ("_x.so", X86),
        ("_x.cpython-313-aarch64-linux-gnu.so", ARM),
        ("_x.abi3-aarch64-linux-gnu.so", ARM),
    ],
)
def test_extensions_that_the_target_loads_are_no_finding(name: str, target: Target) -> None:
    machine = 62 if target is X86 else 183
    own = f"manylinux_2_17_{target.machine}"
    tag = "cp{0}{1}-cp{0}{1}-{2}".format(*target.python, own)
    data = extension("_x", machine=machine)
    assert (
        check(wheel("pkg", {f"pkg/{name}": data, "pkg/__init__.py": ""}, tag), target=target) == []
    )


@pytest.mark.parametrize("tag", ["cp39-abi3-manylinux_2_17_x86_64", "py3-none-linux_x86_64"])
def test_a_stable_abi_of_an_older_python_fits(tag: str) -> None:
    assert check(wheel("pkg", {"pkg/_x.abi3.so": extension("_x")}, tag)) == []


def test_a_tree_without_native_files_has_nothing_to_fit() -> None:
    assert check(dist("pure"), {"handler.py": "x = 1"}) == []


# Another system, machine, C library


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("_x.cpython-311-darwin.so", MACH_O, "compat-platform"),
        ("_x.abi3.so", MACH_O, "compat-platform"),
        ("_x.so", MACH_O + b"_PyInit__x\0", "compat-platform"),
        ("_x.cp311-win_amd64.pyd", PE, "compat-platform"),
        ("_x.pyd", PE, "compat-platform"),
        ("_x.cpython-311-aarch64-linux-gnu.so", extension("_x", machine=183), "compat-machine"),
        ("_x.abi3.so", extension("_x", machine=183), "compat-machine"),
        ("_x.so", extension("_x", machine=3, bits=32), "compat-machine"),
        ("_x.so", extension("_x", bits=32), "compat-machine"),
        ("_x.so", extension("_x", order=">"), "compat-machine"),
        ("_x.cpython-311-x86_64-linux-musl.so", extension("_x"), "compat-musl"),
        ("_x.abi3.so", extension("_x", needed=["libc.musl-x86_64.so.1"]), "compat-musl"),
        ("_x.cpython-312-x86_64-linux-gnu.so", extension("_x"), "compat-python"),
        ("_x.cpython-39-x86_64-linux-gnu.so", extension("_x"), "compat-python"),
        ("_x.cpython-311t-x86_64-linux-gnu.so", extension("_x"), "compat-python"),
        ("_x.pypy311-pp73-x86_64-linux-gnu.so", extension("_x"), "compat-python"),
        ("_x.abi3t.so", extension("_x"), "compat-python"),
    ],
)
@pytest.mark.parametrize("owned", [True, False])
def test_a_module_that_cannot_be_loaded_is_an_error(
    name: str, data: bytes, code: str, *, owned: bool
) -> None:
    files: dict[str, Data] = {f"pkg/{name}": data, "pkg/__init__.py": ""}
    tree = wheel("pkg", files, "cp39-cp39-other_system") if owned else files
    (finding,) = found(tree)
    assert (finding.code, finding.severity.value) == (code, "error")
    assert f"pkg/{name}" in finding.message
    assert "--runtime python3.11 --arch x86_64" in finding.message


def test_arm64_takes_aarch64_and_refuses_x86_64() -> None:
    assert check({"_x.abi3.so": extension("_x")}, target=ARM) == ["compat-machine"]
    assert check({"_x.abi3.so": extension("_x", machine=183)}, target=ARM) == []


def test_python315_takes_the_stable_abi_of_free_threaded_builds() -> None:
    newest = Target.of("python3.15")
    assert check({"_x.abi3t.so": extension("_x")}, target=newest) == []


def test_a_module_beside_one_that_fits_is_only_told() -> None:
    files = {f"_x.{TAG}.so": extension("_x"), "_x.cpython-312-x86_64-linux-gnu.so": extension("_x")}
    (finding,) = found(files | {"_x.pyd": PE})
    assert (finding.code, finding.severity.value) == ("compat-spare", "info")


@pytest.mark.parametrize("source", ["fast.py", "fast.pyc", "fast/__init__.py"])
def test_a_module_with_its_source_beside_it_only_becomes_slower(source: str) -> None:
    # The header of bytecode that the runtime loads.
    content = X86.runtime.magic.to_bytes(2, "little") + b"\r\n\1\0\0\0" + bytes(8)
    tree = {"fast.cpython-312-x86_64-linux-gnu.so": elf(), source: content}
    assert check(tree) == ["compat-fallback"]


def test_bytecode_of_another_version_is_reported() -> None:
    """As of a pass of one's own that was told another version than the runtime's."""
    assert check({"a.pyc": b"\x00\x0d\r\n" + bytes(12)}) == ["bytecode-foreign"]


def test_libraries_that_nothing_loads_are_no_error() -> None:
    """Wheels for every system ship libraries of all of them, and installers ship launchers."""
    files: dict[str, Data] = {
        "pkg/__init__.py": "",
        "pkg/cli-64.exe": PE,
        "pkg/data/helper.dll": PE,
        "pkg/data/helper.dylib": MACH_O,
        "pkg/data/attach_arm.so": elf(machine=183),
        "pkg/data/attach_amd64.so": elf(),
    }
    assert check(wheel("pkg", files, "py3-none-any")) == []
    assert check(files) == ["compat-foreign"], "nobody knows whose they are"


def test_a_library_that_an_extension_needs_counts() -> None:
    files = {"_x.abi3.so": extension("_x", needed=["libown.so.1"])}
    assert check(files | {"own.libs/libown.so.1": elf(soname="libown.so.1")}) == []
    assert check(files | {"own.libs/libown.so.1": elf(machine=183)}) == ["compat-machine"]
    assert check(files) == ["compat-library-unknown"]


def test_a_library_of_a_wheel_for_another_system_counts() -> None:
    files: dict[str, Data] = {"pkg/__init__.py": "", "pkg/libown.dylib": MACH_O}
    assert check(wheel("pkg", files, "py3-none-macosx_11_0_arm64")) == ["compat-platform"]


def test_programs_of_a_wheel_for_another_system_are_a_warning() -> None:
    tree = wheel("tool", {"tool/bin/tool": MACH_O}, "py3-none-macosx_11_0_arm64")
    assert check(tree) == ["compat-foreign"]


@pytest.mark.parametrize("name", ["_x.abi3.so", "_x.so"])
def test_the_tag_tells_a_stable_abi_that_is_too_new(name: str) -> None:
    tag = "cp313-abi3-manylinux_2_17_x86_64"
    assert check(wheel("pkg", {f"pkg/{name}": extension("_x")}, tag)) == ["compat-python"]
    assert (
        check(wheel("pkg", {f"pkg/{name}": extension("_x")}, tag), target=Target.of("python3.13"))
        == []
    )


# What is needed


@pytest.mark.parametrize(
    ("version", "fits"),
    [
        ("GLIBC_2.17", True),
        ("GLIBC_2.26", True),
        ("GLIBC_2.2.5", True),
        ("GLIBC_PRIVATE", True),
        ("GLIBC_2.27", False),
        ("GLIBC_2.100", False),
        ("GLIBC_ABI_DT_RELR", False),
    ],
)
def test_the_newest_glibc_that_a_file_needs_is_compared(version: str, *, fits: bool) -> None:
    data = extension("_x", versions={"libc.so.6": ["GLIBC_2.4", version]})
    assert check({"_x.so": data}) == ([] if fits else ["compat-glibc"])
    assert check({"lib/libplain.so": elf(versions={"libm.so.6": [version]})}) == (
        [] if fits else ["compat-glibc"]
    )


def test_a_newer_runtime_has_a_newer_glibc() -> None:
    data = {"_x.abi3.so": extension("_x", versions={"libc.so.6": ["GLIBC_2.34"]})}
    assert check(data) == ["compat-glibc"]
    assert check(data, target=Target.of("python3.13")) == []


def test_weak_needs_do_not_count() -> None:
    assert (
        check({"_x.so": extension("_x", versions={"libc.so.6": ["GLIBC_2.99"]}, weak=True)}) == []
    )


def test_libraries_are_known_to_be_there_or_missing_or_neither() -> None:
    needed = ["libstdc++.so.6", "libGL.so.1", "libstrange.so.3"]
    missing, unknown = found({"_x.abi3.so": extension("_x", needed=needed)})
    assert (missing.code, unknown.code) == ("compat-library-missing", "compat-library-unknown")
    assert "libGL.so.1" in missing.message
    assert "libstrange.so.3" in unknown.message
    assert "libstdc++" not in missing.message + unknown.message


def test_what_was_only_missed_on_some_runtimes_is_unknown_on_the_others() -> None:
    data = {"_x.abi3.so": extension("_x", needed=["libexpat.so.1"])}
    assert check(data, target=Target.of("python3.9")) == ["compat-library-missing"]
    assert check(data, target=Target.of("python3.11")) == ["compat-library-unknown"]
    assert check(data, target=Target.of("python3.13")) == ["compat-library-missing"]


@pytest.mark.parametrize("place", ["lib/libexpat.so.1", "pkg.libs/libexpat.so.1"])
def test_a_library_in_the_package_or_a_layer_is_found(place: str) -> None:
    tree = tree_from({"_x.abi3.so": extension("_x", needed=["libexpat.so.1"])})
    library = tree_from({place: elf()})
    newest = Target.of("python3.13")
    assert check_compatibility(Tree([*tree.values(), *library.values()]), newest) == ()
    assert check_compatibility(tree, newest, layers=[library]) == ()


def test_a_library_may_have_another_file_name_than_soname() -> None:
    files = {"_x.abi3.so": extension("_x", needed=["libown.so.1"])}
    assert check(files | {"pkg/libown-1234.so": elf(soname="libown.so.1")}) == []


def test_bytes_that_are_no_library_are_a_warning() -> None:
    assert check({f"_x.{TAG}.so": "version https://git-lfs.github.com/spec/v1\n"}) == [
        "compat-malformed"
    ]
    assert check({"_x.abi3.so": elf()[:70]}) == ["compat-malformed"]
    assert check({"libfoo.so": "INPUT(-lfoo)"}) == [], "a linker script"


def test_one_finding_per_code_and_distribution() -> None:
    bad = {f"pkg/_{n}.cpython-312-x86_64-linux-gnu.so": elf() for n in range(5)}
    (finding,) = found(wheel("pkg", dict(bad)))
    assert "pkg 1.0" in finding.message
    assert "and 4 more files" in finding.message
    assert check(wheel("pkg", dict(bad)), {"own/_y.pyd": PE, "own/_z.pyd": PE}) == [
        "compat-platform",
        "compat-python",
    ]


# What is installed


def test_a_requirement_that_is_nowhere_is_a_warning() -> None:
    (finding,) = found(dist("app", requires=["lib>=2", 'other; extra == "x"', "third"]))
    assert finding.code == "compat-requirement-missing"
    assert "app 1.0 requires lib>=2 (and 1 more)" in finding.message


@pytest.mark.parametrize(
    "requirement",
    [
        'lib; python_version < "3.9"',
        'lib; sys_platform == "win32"',
        'lib; platform_machine == "aarch64"',
        'lib; python_full_version < "3.11.3"',
        'lib; python_full_version > "3.11.3"',
        "boto3",
    ],
)
def test_requirements_that_do_not_count_or_that_the_runtime_meets(requirement: str) -> None:
    assert check(dist("app", requires=[requirement])) == []


def test_a_version_that_does_not_satisfy_is_a_warning() -> None:
    app = dist("app", requires=["lib==2.0"])
    assert check(app, dist("lib", "1.0", {"lib.py": "x = 1"})) == ["compat-requirement-unmet"]
    assert check(app, dist("lib", "2.0")) == []


def test_a_layer_meets_requirements() -> None:
    layer = tree_from(dist("Some_Lib", root="python"))
    app = tree_from(dist("app", requires=["some.lib"]))
    assert check_compatibility(app, X86, layers=[layer]) == ()


@pytest.mark.parametrize("files", [{}, {"core/__init__.py": ""}])
def test_an_empty_distribution_that_is_required_is_an_error(files: dict[str, Data]) -> None:
    app = dist("app", requires=["core"])
    core = dist("core", "0.0.1", files)
    (finding,) = found(app, core)
    assert (finding.code, finding.severity.value) == ("compat-placeholder", "error")
    assert check(core) == [], "nothing requires it"
    assert check(app, dist("core", "0.0.1", files, requires=["app"])) == [], "a name for others"
    assert check(app, dist("core", "3.0", files)) == [], "a namespace, empty on purpose"
    assert check(app, without(core, "RECORD", "top_level.txt")) == [], "nobody knows its files"
    assert "compat-placeholder" in check(
        dist("app", requires=["core>=4"]), dist("core", "3", files)
    )


def test_the_pure_wheel_of_a_compiled_distribution_is_a_warning() -> None:
    pure: dict[str, Data] = {"wrapt/__init__.py": ""}
    assert check(dist("wrapt", files=pure)) == ["compat-fallback"]
    compiled = {**pure, f"wrapt/_wrappers.{TAG}.so": extension("_wrappers")}
    assert check(wheel("wrapt", compiled)) == []
    assert check(wheel("websockets", {"websockets/__init__.py": ""})) == [], (
        "1.0 had no compiled one"
    )


def test_the_bundled_rules_have_evidence() -> None:
    rules = Knowledge.bundled().binary
    assert "wrapt" in {rule.distribution for rule in rules}
    assert all(rule.checked for rule in rules)


@pytest.mark.parametrize(
    "change",
    [
        ("paths", "[]"),
        ("paths", '"/x.so"'),
        ("versions", '"about 2"'),
        ("evidence", '"trust me"'),
        ("distribution", '"Some_Name"'),
        ("checked", '"1.0"'),
        ("wrong", '"key"'),
    ],
)
def test_a_malformed_rule_is_named(change: tuple[str, str]) -> None:
    row = {
        "distribution": '"a"',
        "versions": '""',
        "paths": '["/a/*.so"]',
        "reason": '"r"',
        "evidence": '"https://example.org"',
        "checked": '["1"]',
    }
    good = "[[binary]]\n" + "\n".join(f"{key} = {value}" for key, value in row.items())
    assert len(parse_binary(good, "x.toml")) == 1
    bad = "[[binary]]\n" + "\n".join(f"{k} = {v}" for k, v in {**row, change[0]: change[1]}.items())
    with pytest.raises(DataError, match=r"x\.toml, \[\[binary\]\] 1"):
        parse_binary(bad, "x.toml")


# In a run


def unfit(directory: Path) -> Path:
    files: dict[str, Data] = {"pkg/_x.abi3.so": MACH_O, "pkg/a.py": ""}
    return on_disk(tree_from(wheel("pkg", files, "cp311-abi3-macosx_11_0_arm64")), directory)


def test_a_package_that_does_not_fit_is_not_written(tmp_path: Path) -> None:
    source, out = unfit(tmp_path / "source"), tmp_path / "out.zip"
    with pytest.raises(RefusedError) as caught:
        lambdaslim.slim(source, out, runtime="python3.11")
    assert [finding.code for finding in caught.value.findings] == ["compat-platform"]
    assert "--allow compat-platform" in caught.value.fix
    assert not out.exists()


def test_an_allowed_finding_is_told_and_does_not_refuse(tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    slimmed = lambdaslim.slim(
        unfit(tmp_path / "s"), out, runtime="python3.11", allow=["compat-platform"], strict=True
    )
    assert "compat-platform" in {finding.code for finding in slimmed.findings}
    assert out.exists()


def test_what_is_left_out_cannot_break(tmp_path: Path) -> None:
    out = tmp_path / "out.zip"
    lambdaslim.slim(unfit(tmp_path / "s"), out, runtime="python3.11", drop=["*.so"])
    assert out.exists()


def test_wheels_tags_are_known_of_a_slimmed_tree(tmp_path: Path) -> None:
    tag = "cp313-abi3-manylinux_2_17_x86_64"
    tree = tree_from(wheel("pkg", {"pkg/_x.abi3.so": extension("_x"), "pkg/a.py": ""}, tag))
    after = Tree(entry for entry in tree.values() if entry.name != "WHEEL")
    assert check_compatibility(after, X86) == ()
    (finding,) = check_compatibility(after, X86, distributions=Distributions.read(tree))
    assert finding.code == "compat-python"
    with pytest.raises(RefusedError):
        lambdaslim.slim(on_disk(tree, tmp_path / "s"), tmp_path / "o.zip", runtime="python3.11")


def test_an_unknown_code_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SlimError, match="compat-glibc") as caught:
        lambdaslim.slim(unfit(tmp_path / "s"), tmp_path / "o.zip", allow=["compat-glib"])
    assert caught.value.where == "compat-glib"


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "lambdaslim", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ((), 0),
        (("--runtime", "python3.11"), 1),
        (("--runtime", "python3.11", "--allow", "compat-platform"), 0),
        (("--runtime", "python3.11", "--allow", "compat-plattform"), 2),
        (("--runtime", "python3.11", "--arch", "arm64", "--json"), 1),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_the_command_checks_zips_and_directories(
    tmp_path: Path, options: tuple[str, ...], code: int, *, zipped: bool
) -> None:
    package = unfit(tmp_path / "source")
    if zipped:
        directory, package = package, tmp_path / "package.zip"
        with zipfile.ZipFile(package, "w") as archive:
            for path in sorted(directory.rglob("*")):
                archive.write(path, path.relative_to(directory).as_posix())
    done = command("check", package, *options)
    assert done.returncode == code, done
    assert ("compat-platform" in done.stdout + done.stderr) == ("--runtime" in options)


# Real wheels


def installed(directory: Path, python: str, requirement: str, *platforms: str) -> Path:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
    options = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp"]
    wanted = [word for platform in platforms for word in ("--platform", platform)]
    line = [*pip, *options, *wanted, "--target", str(directory), requirement]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory


MANYLINUX = ("manylinux2014_x86_64", "manylinux_2_17_x86_64", "manylinux_2_28_x86_64")
MARKUPSAFE = "markupsafe==3.0.3"
# Its module needs GLIBC_2.33.
TOO_NEW = "cryptography==46.0.3"


@pytest.mark.network
@pytest.mark.parametrize(
    ("python", "platforms", "requirement", "code"),
    [
        ("3.11", ("macosx_11_0_arm64",), MARKUPSAFE, "compat-platform"),
        ("3.11", ("win_amd64",), MARKUPSAFE, "compat-platform"),
        ("3.11", ("musllinux_1_2_x86_64",), MARKUPSAFE, "compat-musl"),
        ("3.11", ("manylinux2014_aarch64", "manylinux_2_28_aarch64"), MARKUPSAFE, "compat-machine"),
        ("3.12", MANYLINUX, MARKUPSAFE, "compat-python"),
        ("3.11", ("manylinux_2_34_x86_64",), TOO_NEW, "compat-glibc"),
        ("3.11", MANYLINUX, MARKUPSAFE, None),
    ],
)
def test_real_wheels(
    tmp_path: Path, python: str, platforms: tuple[str, ...], requirement: str, code: str | None
) -> None:
    tree = scan(installed(tmp_path / "tree", python, requirement, *platforms))
    errors = {f.code for f in check_compatibility(tree, X86) if f.severity.value == "error"}
    assert errors == ({code} if code else set())


def test_a_slimmed_distribution_is_no_placeholder(tmp_path: Path) -> None:
    """Its sources have become bytecode, whether it is called 0.0.7 or not."""
    small = dist("small", "0.0.7", {"small/__init__.py": "x = 1\n"})
    place = on_disk(tree_from(small, dist("big", requires=["small>=0.0.2"])), tmp_path / "s")
    slimmed = lambdaslim.slim(place, tmp_path / "o.zip", runtime="python3.11", dry_run=True)
    assert "small/__init__.pyc" in slimmed.result.after
    assert [one.code for one in slimmed.findings if one.code.startswith("compat")] == []


@pytest.mark.network
def test_the_placeholder_that_pip_chose(tmp_path: Path) -> None:
    """A single --platform tag made pip take it for the real one."""
    directory = installed(tmp_path / "tree", "3.11", "pydantic-core==0.0.1", "any")
    app = tree_from(dist("app", requires=["pydantic-core"]))
    tree = Tree([*scan(directory).values(), *app.values()])
    assert "compat-placeholder" in {finding.code for finding in check_compatibility(tree, X86)}


def test_a_runtime_with_a_newer_glibc_is_only_a_matter_of_data() -> None:
    newer = replace(X86, runtime=replace(X86.runtime, glibc=(2, 40)))
    assert (
        check({"_x.so": extension("_x", versions={"libc.so.6": ["GLIBC_2.39"]})}, target=newer)
        == []
    )
