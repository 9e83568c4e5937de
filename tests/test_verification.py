"""What worked before works after: in the target's interpreter, on the package's own code."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from math import nan
from pathlib import Path
from typing import ClassVar

import pytest

import lambdaslim
from disk import environment, linux_only, posix_only, run_python
from interpreters import find_interpreters
from lambdaslim import (
    Checks,
    Entry,
    Failure,
    Pipeline,
    RefusedError,
    Target,
    Tree,
    Verification,
    preset,
    slim,
    verify,
)
from lambdaslim.archive import materialise
from lambdaslim.errors import TargetError, UsageError, VendorError
from lambdaslim.scanner import scan
from lambdaslim.verification import Verifier
from lambdaslim.verification import provided as provided_module
from trees import PYTHON, dist, on_disk, tree_from

ARCHITECTURE = {"aarch64": "arm64"}.get(platform.machine().lower(), "x86_64")
TARGET = Target.of(f"python{PYTHON}", ARCHITECTURE)

pytestmark = posix_only


def compared(before: Tree, after: Tree, checks: Checks | None = None) -> Verification:
    """Compare two trees in the running interpreter, with nothing exempt."""
    with Verifier(before, TARGET, checks or Checks()) as verifier:
        return verifier.verify(after)


def broken(before: Tree, after: Tree, checks: Checks | None = None) -> list[tuple[str, str]]:
    """Return kind and subject of every failure."""
    return [(one.kind, one.subject) for one in compared(before, after, checks).failures]


def without(tree: Tree, *paths: str) -> Tree:
    return Tree(entry for path, entry in tree.items() if path not in paths)


def changed(tree: Tree, path: str, data: str) -> Tree:
    return Tree([*without(tree, path).values(), Entry.of(path, data)])


PACKAGE = tree_from(
    dist(
        "shapes",
        "1.2",
        {
            "shapes/__init__.py": "from shapes.area import area\n",
            "shapes/area.py": "def area(side):\n    return side * side\n",
            "shapes/cli.py": "def main():\n    pass\n",
        },
        requires=["six>=1"],
        entry_points="[console_scripts]\nshapes = shapes.cli:main\n",
    ),
    {"app.py": "import shapes\n\n\ndef handler(event, context):\n    return shapes.area(2)\n"},
)


class TestImports:
    def test_a_package_works_as_itself(self) -> None:
        found = compared(PACKAGE, PACKAGE)
        assert found.failures == ()
        assert found.checked == {"import": 4, "names": 4, "distribution": 1, "entry-point": 1}
        assert found.python == platform.python_version()

    def test_a_module_that_went_and_what_needs_it(self) -> None:
        found = compared(PACKAGE, without(PACKAGE, "shapes/area.py"))
        missing = "ModuleNotFoundError: No module named 'shapes.area'"
        assert [one for one in found.failures if one.kind == "import"] == [
            Failure("import", name, "imports", missing)
            for name in ("app", "shapes", "shapes.area", "shapes.cli")
        ]
        assert ("entry-point", "console_scripts:shapes") in [
            (one.kind, one.subject) for one in found.failures
        ]

    def test_a_public_name_that_went(self) -> None:
        after = changed(PACKAGE, "shapes/area.py", "def area(side): ...\n_hidden = 1\n")
        assert compared(PACKAGE, after).failures == ()
        lacking = changed(PACKAGE, "shapes/area.py", "perimeter = 1\n")
        lacking = changed(lacking, "shapes/__init__.py", "area = 1\n")
        [failure] = compared(PACKAGE, lacking).failures
        assert failure == Failure("names", "shapes.area", "1 public names", "lacks area")

    def test_what_never_imported_is_not_missed(self) -> None:
        before = tree_from({"a.py": "import nothing_like_it\n", "b.py": "x = 1\n"})
        found = compared(before, without(before, "a.py"))
        assert found.failures == ()
        assert found.checked["import"] == 1
        assert any("do not load before" in note for note in found.notes)

    def test_programs_are_not_run(self, tmp_path: Path) -> None:
        mark = tmp_path / "ran"
        program = f"open({str(mark)!r}, 'w')\n"
        before = tree_from({"a/__main__.py": program, "bin/b.py": program, "c.py": ""})
        assert compared(before, without(before, "a/__main__.py", "bin/b.py")).failures == ()
        assert not mark.exists()

    @pytest.mark.parametrize(
        "code",
        [
            "import os; os._exit(3)",
            "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
            "import sys; sys.exit()",
            "class Odd(BaseException): pass\nraise Odd",
            "import os; os.fork()",
            "import os; os.closerange(3, 256)",
        ],
    )
    def test_modules_that_end_the_process(self, code: str) -> None:
        """They disturb nobody: the module after them is compared, and its loss is seen."""
        before = tree_from({"a.py": "x = 1", "m.py": code, "z.py": "y = 1"})
        after = changed(before, "z.py", "")
        assert broken(before, after) == [("names", "z")]

    def test_a_module_that_ends_the_process_only_after(self) -> None:
        before = tree_from({"m.py": "x = 1", "z.py": ""})
        [failure] = compared(before, changed(before, "m.py", "import os; os.abort()")).failures
        assert (failure.subject, failure.after) == ("m", "the interpreter died: SIGABRT")

    def test_a_module_that_never_ends(self) -> None:
        before = tree_from({"m.py": "x = 1", "z.py": ""})
        after = changed(before, "m.py", "import time\nwhile True: time.sleep(1)")
        [failure] = compared(before, after, Checks(timeout=1.5)).failures
        assert (failure.subject, failure.after) == ("m", "no answer within 1.5 seconds")

    def test_modules_that_talk_and_listen(self) -> None:
        code = "import sys, os\nprint('{}')\nos.write(1, b'{}')\nANSWER = sys.stdin.read()\n"
        before = tree_from({"m.py": code, "z.py": "x = 1"})
        assert broken(before, changed(before, "z.py", "")) == [("names", "z")]

    def test_contamination_by_order_is_no_failure(self) -> None:
        """`a` makes `z` importable or not for whoever comes later in the same process."""
        before = tree_from({"a.py": "x = 1", "z.py": "y = 1"})
        after = changed(before, "a.py", "import sys; x = 1; sys.modules['z'] = None")
        assert compared(before, after).failures == ()

    def test_many_failures_alike(self) -> None:
        """Some stand for all, but not where one of them is no failure."""
        many = {f"m{n:02}.py": "import needed\n" for n in range(60)}
        before = tree_from({**many, "needed.py": ""})
        assert len(broken(before, without(before, "needed.py"))) == 61
        spoils = "import sys\nsys.modules['needed'] = None\n"
        before = tree_from({**many, "a.py": "", "needed.py": ""})
        assert compared(before, changed(before, "a.py", spoils)).failures == ()

    def test_names_that_vary_by_themselves(self) -> None:
        code = "import time\nglobals()[f'name_{time.time_ns()}'] = steady = 1\n"
        before = tree_from({"m.py": code})
        assert compared(before, before).failures == ()
        assert broken(before, changed(before, "m.py", "other = 1")) == [("names", "m")]

    def test_lazy_names_are_not_loaded(self) -> None:
        lazy = (
            "def __getattr__(name):\n    raise SystemError('loaded')\n"
            "def __dir__():\n    return ['later', 'other']\n"
        )
        before = tree_from({"m.py": lazy})
        assert compared(before, before).failures == ()
        [failure] = compared(before, changed(before, "m.py", lazy.replace("later", "l"))).failures
        assert (failure.kind, failure.after) == ("names", "lacks later")

    def test_a_namespace_package_and_path_files(self) -> None:
        before = tree_from(
            {"space/one/a.py": "", "hidden/inner.py": "x = 1", "more.pth": "hidden\n"}
        )
        assert compared(before, before).checked["import"] == 3
        assert ("import", "inner") in broken(before, without(before, "more.pth"))
        assert broken(before, without(before, "space/one/a.py")) == [("import", "space.one.a")]

    def test_what_was_removed_on_purpose_is_not_missed(self) -> None:
        before = tree_from({"a/__init__.py": "", "a/tests/__init__.py": "", "b.py": "import a\n"})
        after = without(before, "a/tests/__init__.py")
        with Verifier(before, TARGET, Checks(), removed=["a/tests/__init__.py"]) as verifier:
            found = verifier.verify(after)
            assert found.failures == ()
            assert "1 modules were left out on purpose: not imported" in found.notes
            # Whoever needs it is missed nevertheless.
            assert verifier.verify(without(after, "a/__init__.py")).failures

    def test_legacy_bytecode_counts(self, tmp_path: Path) -> None:
        result = Pipeline(preset("safe", TARGET)).run(PACKAGE)
        assert "app.pyc" in result.after
        assert compared(PACKAGE, result.after).failures == ()
        assert compared(result.after, PACKAGE).checked["import"] == 4
        assert not list(tmp_path.iterdir())


class TestMetadata:
    @pytest.mark.parametrize(
        ("path", "old", "new", "after"),
        [
            ("METADATA", "Version: 1.2", "Version: 1.3", "version 1.3"),
            ("METADATA", "Name: shapes", "Name: Shapes", "name Shapes"),
            ("METADATA", "Requires-Dist: six>=1", "", "requires nothing"),
        ],
    )
    def test_a_distribution_answers_otherwise(
        self, path: str, old: str, new: str, after: str
    ) -> None:
        place = f"shapes-1.2.dist-info/{path}"
        text = PACKAGE[place].read().decode().replace(old, new)
        found = compared(PACKAGE, changed(PACKAGE, place, text))
        assert [(one.subject, one.after) for one in found.failures] == [("shapes", after)]

    def test_metadata_that_went(self) -> None:
        info = [path for path in PACKAGE if path.startswith("shapes-1.2")]
        assert broken(PACKAGE, without(PACKAGE, *info)) == [
            ("distribution", "shapes"),
            ("entry-point", "console_scripts:shapes"),
        ]

    @pytest.mark.skipif(sys.version_info < (3, 10), reason="packages_distributions() is newer")
    def test_packages_distributions(self) -> None:
        gone = ("RECORD", "top_level.txt")
        after = without(PACKAGE, *(f"shapes-1.2.dist-info/{name}" for name in gone))
        [failure] = compared(PACKAGE, after).failures
        assert (failure.kind, failure.after) == ("distribution", "it lacks shapes")

    def test_an_entry_point_that_went(self) -> None:
        after = without(PACKAGE, "shapes-1.2.dist-info/entry_points.txt")
        [failure] = compared(PACKAGE, after).failures
        assert failure == Failure(
            "entry-point",
            "console_scripts:shapes",
            "loads",
            "importlib.metadata does not find it",
        )

    def test_an_entry_point_that_does_not_load(self) -> None:
        after = changed(PACKAGE, "shapes/cli.py", "")
        assert ("entry-point", "console_scripts:shapes") in broken(PACKAGE, after)


SDK = tree_from(
    dist("boto3", "1.0", {"boto3/__init__.py": "client = 1\n", "boto3/new.py": ""}),
    {"app.py": "import boto3\n"},
)


class TestProvided:
    @pytest.fixture
    def offline(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*_: object, **__: object) -> None:
            raise VendorError("no index", fix="none")

        monkeypatch.setattr(provided_module, "vendor", fails)

    @pytest.mark.usefixtures("offline")
    def test_offline_the_packages_own_copies_serve(self) -> None:
        after = Tree(entry for path, entry in SDK.items() if path == "app.py")
        found = compared(SDK, after)
        assert found.failures == ()
        assert any("the package's own copies were used" in note for note in found.notes)

    def test_the_runtimes_version_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its modules may be others, but those that everything starts from must import."""
        files: dict[str, str] = {"boto3/__init__.py": "other = 1\n"}

        def installs(requirements: Sequence[str], *, into: Path, target: Target) -> None:
            assert any(line.startswith("boto3") for line in requirements)
            assert target == TARGET
            into.mkdir(parents=True)
            on_disk(tree_from(dist("boto3", "0.9", files)), into)

        monkeypatch.setattr(provided_module, "vendor", installs)
        after = Tree(entry for path, entry in SDK.items() if path == "app.py")
        found = compared(SDK, after)
        assert found.failures == ()
        assert any("its versions lack boto3.new" in note for note in found.notes)
        files.clear()
        assert broken(SDK, after) == [("import", name) for name in ("app", "boto3", "boto3.new")]

    def test_nothing_is_installed_that_nobody_mentions(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(provided_module, "vendor", None)
        assert compared(tree_from({"a.py": ""}), tree_from({"a.py": ""})).notes == ()

    @pytest.mark.usefixtures("offline")
    def test_without_the_runtime_client_there_is_a_way(self) -> None:
        with pytest.raises(VendorError, match="--client"):
            compared(PACKAGE, PACKAGE, Checks(handler="app.handler"))


class TestCommand:
    def test_it_must_succeed_after(self) -> None:
        checks = Checks(run="python -c 'import app, shapes; print(shapes.area(3))'")
        assert compared(PACKAGE, PACKAGE, checks).checked["command"] == 1
        [failure] = compared(
            PACKAGE, changed(PACKAGE, "shapes/area.py", "area = None"), checks
        ).failures
        assert failure.kind == "command"
        assert failure.after == "exit code 1: TypeError: 'NoneType' object is not callable"

    def test_it_must_succeed_before(self) -> None:
        with pytest.raises(UsageError, match=r"fails before slimming too \(exit code 7"):
            compared(PACKAGE, PACKAGE, Checks(run="exit 7", imports=False))

    def test_it_sees_the_package_and_nothing_else(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SECRET", "1")
        code = (
            "import os, sys, inner\n"
            "assert 'SECRET' not in os.environ\n"
            "assert os.getcwd() == os.environ['LAMBDA_TASK_ROOT'] == sys.path[1], sys.path\n"
            "assert sys.dont_write_bytecode\n"
            "try:\n    import pytest\nexcept ImportError:\n    pass\n"
            "else:\n    raise SystemExit('sees the interpreter\\'s own packages')\n"
        )
        tree = tree_from({"smoke/go.py": code, "hidden/inner.py": "", "more.pth": "hidden\n"})
        checks = Checks(run="python3 smoke/go.py && python smoke/go.py", imports=False)
        assert compared(tree, tree, checks).failures == ()

    def test_it_has_a_time(self) -> None:
        after = changed(PACKAGE, "app.py", "import time; time.sleep(60)")
        checks = Checks(run="python -c 'import app' & wait $!", timeout=2, imports=False)
        started = time.monotonic()
        [failure] = compared(PACKAGE, after, checks).failures
        assert failure.after == "did not end within 2 seconds"
        assert time.monotonic() - started < 30


class TestVerifier:
    def test_still_fails_looks_at_nothing_else(self) -> None:
        after = without(PACKAGE, "shapes-1.2.dist-info/entry_points.txt", "shapes/area.py")
        with Verifier(PACKAGE, TARGET, Checks(run="python -c 'import app'")) as verifier:
            failures = verifier.verify(after).failures
            kinds = {one.kind for one in failures}
            assert kinds == {"import", "entry-point", "command"}
            for kind in sorted(kinds):
                wanted = [one for one in failures if one.kind == kind]
                assert verifier.still_fails(after, wanted)
                assert not verifier.still_fails(PACKAGE, wanted)
            points = [one for one in failures if one.kind == "entry-point"]
            mended = without(PACKAGE, "shapes-1.2.dist-info/entry_points.txt")
            assert verifier.still_fails(mended, points)
            imports = [one for one in failures if one.kind == "import"]
            assert not verifier.still_fails(mended, imports)

    def test_nothing_is_left_and_the_source_is_untouched(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source, scratch = tmp_path / "source", tmp_path / "scratch"
        scratch.mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(scratch))
        writes = "import os\nopen(os.path.join(os.path.dirname(__file__), 'x'), 'w').close()\n"
        tree = scan(on_disk(tree_from({"m.py": writes}), source))
        with Verifier(tree, TARGET, Checks()) as verifier:
            assert list(scratch.iterdir())
            assert verifier.verify(tree).failures == ()
        assert not list(scratch.iterdir())
        assert [path.name for path in source.iterdir()] == ["m.py"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=str)
    def test_an_interruption_leaves_nothing(self, tmp_path: Path, number: int) -> None:
        """No process and no scratch directory, though both sides are under way."""
        scratch, mark = tmp_path / "scratch", tmp_path / "mark"
        scratch.mkdir()
        hangs = (
            "import os, time\n"
            f"open({str(mark)!r}, 'a').write(f'{{os.getpid()}} ')\n"
            "time.sleep(60)\n"
        )
        source = str(on_disk(tree_from({"m.py": hangs}), tmp_path / "source"))
        code = "import sys; from lambdaslim.cli import main; sys.exit(main(sys.argv[1:]))"
        arguments = ["verify", source, "--after", source, "--runtime", TARGET.runtime.name]
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments, "--arch", ARCHITECTURE],
            env=environment({"TMPDIR": str(scratch)}),
            stderr=subprocess.DEVNULL,
        )
        try:
            waited_for(lambda: mark.exists() and len(mark.read_text().split()) == 2)
            process.send_signal(number)
            assert process.wait(20) == 128 + number
        finally:
            process.kill()
        assert not list(scratch.iterdir())
        for child in map(int, mark.read_text().split()):
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)

    def test_another_machine_is_refused(self) -> None:
        other = "x86_64" if ARCHITECTURE == "arm64" else "arm64"
        with pytest.raises(TargetError, match="cannot run here"):
            Verifier(PACKAGE, Target.of(f"python{PYTHON}", other), Checks())

    def test_without_an_interpreter_there_is_a_way(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("lambdaslim.interpreters.find", lambda *_: None)
        with pytest.raises(TargetError, match="--interpreter"):
            Verifier(PACKAGE, TARGET, Checks())

    @linux_only
    def test_old_runtimes_have_no_client(self) -> None:
        if (3, 9) not in find_interpreters():
            pytest.skip("no CPython 3.9 on this machine")
        with (
            pytest.raises(TargetError, match="leave out the handler"),
            Verifier(
                PACKAGE,
                Target.of("python3.9", ARCHITECTURE),
                Checks(handler="app.handler"),
                interpreter=find_interpreters()[3, 9],
            ),
        ):
            pass

    @pytest.mark.parametrize(
        "options",
        [{"handler": "app"}, {"timeout": 0}, {"timeout": nan}, {"imports": False}],
        ids=str,
    )
    def test_checks_that_check_nothing(self, options: dict[str, object]) -> None:
        with pytest.raises(UsageError):
            Checks(**options)  # type: ignore[arg-type]

    @pytest.mark.interpreter
    @pytest.mark.parametrize("python", sorted(find_interpreters()), ids="{0[0]}.{0[1]}".format)
    def test_every_version_of_python(self, python: tuple[int, int]) -> None:
        target = Target.of("python{}.{}".format(*python), ARCHITECTURE)
        checks = Checks(run="python -c 'import app'")
        with Verifier(PACKAGE, target, checks, interpreter=find_interpreters()[python]) as verifier:
            assert verifier.verify(PACKAGE).failures == ()
            after = without(PACKAGE, "shapes-1.2.dist-info/METADATA", "app.py")
            kinds = [one.kind for one in verifier.verify(after).failures]
            assert {"distribution", "import", "command"} <= set(kinds)


class TestMaterialise:
    def test_only_differences_are_written(self, tmp_path: Path) -> None:
        first = tree_from({"a/b.py": "1", "c": "2", "d/e": "3", "same": "4"})
        second = tree_from({"a": "now a file", "c/x": "now a directory", "same": "4"})
        materialise(first, tmp_path)
        written = (tmp_path / "same").stat().st_mtime_ns
        materialise(second, tmp_path, first)
        assert scan(tmp_path).digest() == second.digest()
        assert not (tmp_path / "d").exists()
        assert (tmp_path / "same").stat().st_mtime_ns == written

    def test_dates_and_modes_stay_and_nothing_is_linked(self, tmp_path: Path) -> None:
        source, copy = tmp_path / "source", tmp_path / "copy"
        copy.mkdir()
        tree = tree_from([Entry.of("run", "x", executable=True)])
        materialise(scan(on_disk(tree, source)), copy)
        old, new = (source / "run").stat(), (copy / "run").stat()
        assert (new.st_mtime_ns, new.st_mode) == (old.st_mtime_ns, old.st_mode)
        assert new.st_ino != old.st_ino


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return on_disk(PACKAGE, tmp_path / "package")


class TestDoors:
    """The library's and the command's."""

    def test_a_broken_package_is_not_written(self, package: Path, tmp_path: Path) -> None:
        with pytest.raises(RefusedError, match="import app: ModuleNotFoundError") as caught:
            slim(
                package,
                tmp_path / "out.zip",
                architecture=ARCHITECTURE,
                passes=[Breaking()],
                verify=Checks(),
            )
        assert [one.code for one in caught.value.findings] == ["verification-failed"]
        assert caught.value.slimmed.verification is not None
        assert not (tmp_path / "out.zip").exists()

    def test_what_drop_took_is_not_missed(self, package: Path, tmp_path: Path) -> None:
        slimmed = slim(
            package,
            tmp_path / "out.zip",
            architecture=ARCHITECTURE,
            drop=["/shapes/cli.py"],
            verify=Checks(run="python -c 'import app'"),
        )
        proof = slimmed.verification
        assert proof is not None
        assert proof.checked == {
            "import": 3,
            "names": 3,
            "distribution": 1,
            "entry-point": 0,
            "command": 1,
        }
        found = verify(
            package,
            tmp_path / "out.zip",
            architecture=ARCHITECTURE,
            removed=["/shapes/cli.py"],
        )
        assert found.failures == ()

    def test_the_command(self, package: Path, tmp_path: Path) -> None:
        after = on_disk(without(PACKAGE, "shapes/cli.py"), tmp_path / "after")
        arguments = ["--runtime", TARGET.runtime.name, "--arch", ARCHITECTURE]
        done = command("verify", str(package), "--after", str(package), *arguments)
        assert done.startswith(f"0 verified with Python {platform.python_version()}: nothing")
        done = command("verify", str(package), "--after", str(after), *arguments, "--json")
        assert done[0] == "1"
        document = json.loads(done[2:])
        assert document["version"] == 1
        assert {row["kind"] for row in document["failures"]} == {"import", "entry-point"}

    def test_pack(self, package: Path, tmp_path: Path) -> None:
        output = str(tmp_path / "out.zip")
        arguments = ["--runtime", TARGET.runtime.name, "--arch", ARCHITECTURE, "--json"]
        done = command("pack", str(package), "-o", output, *arguments)
        assert json.loads(done[2:])["verification"] is None
        for asking in (["--verify"], ["--env", "A=b"]):
            done = command("pack", str(package), "-o", output, *arguments, *asking)
            assert json.loads(done[2:])["verification"]["failures"] == []
        classic = ["--preset", "classic", "--run", "python -c 'import app'"]
        done = command("pack", str(package), "-o", output, *arguments, *classic)
        document = json.loads(done[2:])
        assert (done[0], document["written"]) == ("1", False)
        assert document["verification"]["checked"]["command"] == 1
        kinds = {row["kind"] for row in document["verification"]["failures"]}
        assert kinds == {"distribution", "entry-point"}

    @pytest.mark.parametrize(
        "wrong",
        [["--event", "e.json"], ["--handler", "app.handler", "--event", "absent"], ["--timeout=0"]],
    )
    def test_options_that_do_not_fit(self, package: Path, wrong: list[str]) -> None:
        place = str(package)
        arguments = ["--after", place, "--runtime", TARGET.runtime.name, "--arch", ARCHITECTURE]
        assert command("verify", place, *arguments, *wrong).startswith("2 ")


class Breaking:
    """A pass of the house that breaks what it promised to keep."""

    name: ClassVar[str] = "promote-bytecode"

    def edits(
        self,
        tree: Tree,  # noqa: ARG002 - the contract
        context: lambdaslim.Context,  # noqa: ARG002 - the contract
    ) -> Iterator[lambdaslim.Decision]:
        yield lambdaslim.Remove("shapes/area.py", "on purpose")


def waited_for(happened: Callable[[], bool], seconds: float = 30) -> None:
    latest = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < latest, "it never happened"
        time.sleep(0.05)


def command(*arguments: str) -> str:
    """Run the command; return its exit code and what it printed."""
    code = "import sys; from lambdaslim.cli import main; sys.exit(main(sys.argv[1:]))"
    done = run_python(code, *arguments, env={"LAMBDASLIM_CACHE": os.devnull})
    return f"{done.returncode} {done.stdout}"
