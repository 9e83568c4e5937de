"""The documentation: its examples run, its links lead somewhere, its reference is complete.

In README.md and docs/, ```python blocks are run (those with `>>>` as doctests), and so are the
`$ lambdaslim ...` lines of ```console blocks, whose output must be what follows them if anything
does; `...` stands for anything. The blocks of a page share their names and one directory, in which
`vendored` holds a small distribution. `<!-- skip: reason -->` above a block leaves it out, and
`<!-- exit: 1 -->` says with what code its last command ends.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import os
import re
import shlex
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import lambdaslim
from disk import environment
from lambdaslim.findings import KINDS
from vendored import small_tree

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
REFERENCE = DOCS / "reference"
PAGES = sorted(path for path in [ROOT / "README.md", *DOCS.rglob("*.md")] if path.exists())
SOURCES = Path(lambdaslim.__file__).parent
LINKING = sorted({*PAGES, *ROOT.glob("*.md")})

_ITEM = r" *(?:(?:[-*]|\d+\.) +)?"
_FENCE = re.compile(rf"^(?P<indent>{_ITEM})(?P<fence>`{{3,}}|~{{3,}}) *(?P<language>[\w-]*)")
_COMMENT = re.compile(r"^\s*<!--\s*(skip|exit):\s*(.*?)\s*-->\s*$")
_LINK = re.compile(r"(?<!!)\[[^]]*\]\(<?([^)\s>]+)>?[^)]*\)|^\[[^]]+\]:\s*(\S+)", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} +(.*?) *#*$", re.MULTILINE)


class ExampleError(AssertionError):
    """An example does not do what it shows."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text, first line's number, and what a comment says of it."""

    language: str
    text: str
    line: int
    skip: str | None = None
    code: int = 0


@dataclass(frozen=True)
class Command:
    """A command of a console block and the output shown below it."""

    line: str
    output: str


def blocks(text: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page in order."""
    lines = text.splitlines()
    number, said = 0, dict[str, str]()
    while number < len(lines):
        fence = _FENCE.match(lines[number])
        if fence:
            first = number + 1
            closing = re.compile(rf"^ *{re.escape(fence['fence'])}`*~* *$")
            inside = (n for n in range(first, len(lines)) if closing.match(lines[n]))
            number = next(inside, len(lines))
            indent = " " * len(fence["indent"])
            body = [line.removeprefix(indent) for line in lines[first:number]]
            body_text = "\n".join(body) + "\n"
            skip, code = said.get("skip"), int(said.get("exit", "0"))
            if skip == "":
                raise ExampleError(f"line {first}: a skipped block needs a reason")
            yield Block(fence["language"], body_text, first + 1, skip, code)
        if comment := _COMMENT.match(lines[number] if number < len(lines) else ""):
            said[comment[1]] = comment[2]
        elif fence or (number < len(lines) and lines[number].strip()):
            said = {}
        number += 1


def commands(text: str) -> Iterator[Command]:
    r"""Yield the `$` commands of a console block; a line that ends in `\` goes on in the next."""
    line, output = "", ""
    for part in re.split(r"^\$ ", re.sub(r"\\\n\s*>? *", "", text), flags=re.MULTILINE)[1:]:
        line, _, output = part.partition("\n")
        yield Command(line, output)


def matches(shown: str, printed: str) -> bool:
    """Tell whether output is as shown: `...` stands for anything, and line ends do not count."""
    want, got = (
        "\n".join(line.rstrip() for line in text.strip("\n").splitlines()) + "\n"
        for text in (shown, printed)
    )
    return doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS)


def run_page(text: str) -> int:
    """Run the examples of a page in the working directory; return how many were run."""
    module = types.ModuleType("an_example_of_the_documentation")
    # Dataclasses look up their module.
    sys.modules[module.__name__] = module
    wanted = [block for block in blocks(text) if not block.skip]
    try:
        for block in wanted:
            if block.language == "python":
                run_python(block, module)
            elif block.language == "console":
                run_console(block)
    finally:
        del sys.modules[module.__name__]
    return sum(block.language in ("python", "console") for block in wanted)


def run_python(block: Block, module: types.ModuleType) -> None:
    """Run a block as a doctest if it looks like one, else as a script."""
    if re.search(r"^>>> ", block.text, re.MULTILINE):
        test = doctest.DocTestParser().get_doctest(
            block.text, module.__dict__, "example", None, block.line
        )
        told = io.StringIO()
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        if runner.run(test, out=told.write, clear_globs=False).failed:
            raise ExampleError(told.getvalue())
        module.__dict__.update(test.globs)
        return
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        # The empty lines make tracebacks show the page's line.
        source = "\n" * (block.line - 1) + block.text
        code = compile(source, "example", "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102 - our own documentation


def run_console(block: Block) -> None:
    """Run the commands of a block that are ours."""
    ours = [one for one in commands(block.text) if one.line.split()[:1] == ["lambdaslim"]]
    for command in ours:
        expected = block.code if command is ours[-1] else 0
        done = subprocess.run(
            [sys.executable, "-m", "lambdaslim", *shlex.split(command.line, comments=True)[1:]],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
        where = f"line {block.line}: $ {command.line}"
        if done.returncode != expected:
            raise ExampleError(f"{where}\nexit code {done.returncode}:\n{done.stdout}")
        if command.output.strip() and not matches(command.output, done.stdout):
            raise ExampleError(f"{where}\nshown:\n{command.output}\nprinted:\n{done.stdout}")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the working directory of a page."""
    small_tree(tmp_path / "vendored")
    monkeypatch.chdir(tmp_path)
    # For examples that start Python: a relative PYTHONPATH of ours would lead nowhere.
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    return tmp_path


def page_name(path: Path) -> str:
    """Name a page in the names of tests."""
    return path.relative_to(ROOT).as_posix()


class TestExamples:
    @pytest.mark.parametrize("page", PAGES, ids=page_name)
    @pytest.mark.usefixtures("desk")
    def test_run(self, page: Path) -> None:
        run_page(page.read_text("utf-8"))

    def test_there_are_some(self) -> None:
        readme = [block.language for block in blocks((ROOT / "README.md").read_text("utf-8"))]
        assert {"python", "console"} <= set(readme)

    @pytest.mark.parametrize(
        "module",
        sorted(path for path in SOURCES.rglob("*.py") if ">>> " in path.read_text("utf-8")),
        ids=lambda path: path.stem,
    )
    def test_of_docstrings(self, module: Path) -> None:
        inside = module.relative_to(SOURCES.parent).with_suffix("")
        name = ".".join(inside.parts).removesuffix(".__init__")
        __import__(name)
        done = doctest.testmod(sys.modules[name], optionflags=doctest.ELLIPSIS)
        assert done.attempted
        assert not done.failed


class TestRunner:
    """The instrument itself."""

    def test_a_good_page(self, desk: Path) -> None:
        page = """
# Sample

```python
from dataclasses import dataclass
from pathlib import Path

@dataclass
class Note:
    text: str

Path("note.txt").write_text(Note("hello").text)
```

In a list:

- ```python
  >>> Note("x").text, sorted(p.name for p in Path().iterdir())
  ('x', ['note.txt', ...])
  ```

<!-- skip: installs something -->

```console
$ lambdaslim vendor six --into never
```

```console
$ make something
no such thing
$ lambdaslim pack vendored \\
    -o out.zip --runtime python3.13  # the zip
lambdaslim pack: vendored for python3.13 ...
...
wrote out.zip
...
```

<!-- exit: 2 -->
```console
$ lambdaslim check missing.zip
lambdaslim: error: missing.zip: ...
```

````text
```python
raise ValueError("inside another block")
```
````
"""
        assert run_page(page) == 4
        assert (desk / "note.txt").read_text() == "hello"
        assert (desk / "out.zip").exists()
        assert not (desk / "never").exists()

    @pytest.mark.parametrize(
        "example",
        [
            "```python\n>>> 1 + 1\n3\n```",
            "```python\nassert False\n```",
            "```python\nraise AssertionError\n",
            "```console\n$ lambdaslim nonsense\n```",
            "```console\n$ lambdaslim check vendored\nsomething else\n```",
            "```console\n$ lambdaslim passes\nexclude\n```",
            "<!-- exit: 1 -->\n```console\n$ lambdaslim passes\n```",
            "<!-- exit: 2 -->\n```console\n$ lambdaslim nonsense\n$ lambdaslim nonsense\n```",
            "<!-- skip: -->\n```python\n1\n```",
            "<!-- skip: a reason for another -->\n\ntext\n\n```python\nassert False\n```",
            "~~~python\nassert False\n~~~",
        ],
    )
    @pytest.mark.usefixtures("desk")
    def test_a_bad_page(self, example: str) -> None:
        with pytest.raises(AssertionError):
            run_page(example)

    @pytest.mark.parametrize(
        ("shown", "printed", "same"),
        [
            ("a\n...\nc\n", "a\nb\nb\nc\n", True),
            ("wrote ...\n", "wrote x.zip\n", True),
            ("a  \n", "a\n", True),
            ("a\n", "a\nb\n", False),
            ("...\nc\n", "a\nb\n", False),
        ],
    )
    def test_wildcards(self, shown: str, printed: str, same: bool) -> None:  # noqa: FBT001
        assert matches(shown, printed) == same

    def test_links(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        (tmp_path / "other.md").write_text("# One `two` (three)\n")
        page.write_text(
            "[a](other.md) [b](other.md#one-two-three) [c](https://example.org) [d](#here)\n"
            "# Here\n```\n[e](missing.md)\n```\n"
        )
        assert list(broken(page)) == []
        page.write_text("[a](gone.md) [b](other.md#two) [c](#gone)\n\n[d]: lost.md\n")
        assert list(broken(page)) == ["gone.md", "other.md#two", "#gone", "lost.md"]


def broken(page: Path) -> Iterator[str]:
    """Yield the relative links of a page that lead nowhere."""
    text = _without_blocks(page.read_text("utf-8"))
    for found in _LINK.finditer(text):
        link = found[1] or found[2]
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        place = page.parent / unquote(parts.path) if parts.path else page
        anchors = _anchors(place) if place.exists() and place.suffix == ".md" else {parts.fragment}
        if not place.exists() or (parts.fragment and parts.fragment not in anchors):
            yield link


def _without_blocks(text: str) -> str:
    whole = rf"^{_ITEM}(`{{3,}}|~{{3,}}).*?^ *\1 *$"
    return re.sub(whole, "", text, flags=re.MULTILINE | re.DOTALL)


def _anchors(page: Path) -> set[str]:
    """Return the anchors that the headings of a page get."""
    titles = _HEADING.findall(_without_blocks(page.read_text("utf-8")))
    plain = (re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", title) for title in titles)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in plain}


@pytest.mark.parametrize("page", LINKING, ids=page_name)
def test_every_relative_link_resolves(page: Path) -> None:
    assert list(broken(page)) == []


class TestReference:
    @pytest.mark.parametrize("name", [step.name for step in lambdaslim.passes.ALL])
    def test_every_pass_has_a_page(self, name: str) -> None:
        text = (REFERENCE / "passes" / f"{name}.md").read_text("utf-8")
        assert "what can break" in text.lower()

    def test_every_page_is_of_a_pass(self) -> None:
        known = {step.name for step in lambdaslim.passes.ALL}
        pages = {path.stem for path in (REFERENCE / "passes").glob("*.md")}
        assert pages - {"README", "index"} == known

    @pytest.mark.parametrize("code", KINDS)
    def test_every_finding_is_listed(self, code: str) -> None:
        assert f"`{code}`" in (REFERENCE / "findings.md").read_text("utf-8")

    def test_every_public_name_is_listed(self) -> None:
        text = (REFERENCE / "api.md").read_text("utf-8")
        assert [name for name in lambdaslim.__all__ if f"`{name}`" not in text] == []

    def test_every_page_is_reachable(self) -> None:
        """From README.md and docs/README.md on, some link leads to each page."""
        seen: set[Path] = set()
        open_pages = [ROOT / "README.md"]
        while open_pages:
            page = open_pages.pop()
            if page in seen:
                continue
            seen.add(page)
            for found in _LINK.finditer(_without_blocks(page.read_text("utf-8"))):
                path = urlsplit(found[1] or found[2]).path
                place = Path(os.path.normpath(page.parent / path))
                if path.endswith(".md") and place.exists():
                    open_pages.append(place)
        assert [page_name(page) for page in PAGES if page not in seen] == []
