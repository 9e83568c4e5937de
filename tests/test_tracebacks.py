"""Source lines return into tracebacks, and nothing else of a log changes."""

from __future__ import annotations

import json
import linecache
import time
import traceback
from types import CodeType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lambdaslim import Companion, Entry, Tree, restore_tracebacks
from lambdaslim.errors import CompanionError

APP = '''\
"""Fails."""
# A comment.
import functools


@functools.cache
def handler(event, context=None):
    text = """
    of two lines"""
    for number in [1, 2]:

        try:
            return inner(
                event, number,
            )
        except KeyError as error:
            raise ValueError("no") from error


def inner(event, number):
    return (lambda: [event[n] for n in (number,)])()


class Class:
    x = 1

    def method(self):
        return handler({})
'''
LATIN = "# coding: latin-1\nx = 'é'\ndef f():\n    raise ValueError('é')\n".encode("latin-1")
NEW = "type X = list[int]\ndef f():\n    raise ValueError\n"  # no grammar before 3.12
FEED = "x = 1\n\x0cy = '\u2028'\nraise ValueError\n"


def companion(root: str = "/var/task") -> Companion:
    sources = [
        Entry.of("app.py", APP),
        Entry.of("pkg/latin.py", LATIN),
        Entry.of("pkg/new.py", NEW),
        Entry.of("pkg/feed.py", FEED),
        Entry.of("pkg/broken.py", "def f(:\n    pass\n"),
        Entry.of("pkg/crlf.py", "def f():\r\n    return 1\r\n"),
    ]
    kept = frozenset({"pkg/kept.py"})
    return Companion("0" * 64, None, "python3.13", root, Tree(sources), kept)


HERE = companion()


def restored_in(text: str, known: Companion = HERE) -> str:
    return restore_tracebacks(text, known).text


def frame(line: int, name: str | None = None, path: str = "app.py", indent: str = "  ") -> str:
    inside = f", in {name}" if name else ""
    return f'{indent}File "/var/task/{path}", line {line}{inside}'


# One frame, in every dress.


@pytest.mark.parametrize(
    ("line", "name", "path", "source"),
    [
        (21, "inner", "app.py", "return (lambda: [event[n] for n in (number,)])()"),
        (21, "<lambda>", "app.py", "return (lambda: [event[n] for n in (number,)])()"),
        (21, "inner.<locals>.<lambda>.<locals>.<listcomp>", "app.py", "return (lambda: ["),
        (13, "handler", "app.py", "return inner("),
        (14, "handler", "app.py", "event, number,"),
        (10, "handler", "app.py", "for number in [1, 2]:"),
        (7, "handler", "app.py", "def handler(event, context=None):"),
        (6, "<module>", "app.py", "@functools.cache"),
        (16, "handler", "app.py", "except KeyError as error:"),
        (28, "Class.method", "app.py", "return handler({})"),
        (25, "Class", "app.py", "x = 1"),
        (28, "__annotate__", "app.py", "return handler({})"),
        (4, "f", "pkg/latin.py", "raise ValueError('é')"),
        (3, "f", "pkg/new.py", "raise ValueError"),
        (3, "<module>", "pkg/feed.py", "raise ValueError"),
        (1, None, "pkg/broken.py", "def f(:"),
        (2, "f", "pkg/crlf.py", "return 1"),
    ],
)
def test_a_frame_gets_its_line(line: int, name: str | None, path: str, source: str) -> None:
    text = f"Traceback:\n{frame(line, name, path)}\nValueError\n"
    before, _, rest = restored_in(text).partition(f"{frame(line, name, path)}\n")
    assert before == "Traceback:\n"
    added, error = rest.split("\n", 1)
    assert added.startswith(f"    {source}")
    assert error == "ValueError\n"


SOURCE = "return (lambda: [event[n] for n in (number,)])()"
FRAME = frame(21, "inner")
WITH = f"{FRAME}\n    {SOURCE}"
NBSP = FRAME.replace("  File", "\u00a0\u00a0File")


@pytest.mark.parametrize(
    ("text", "restored"),
    [
        (f"{FRAME}\n", f"{WITH}\n"),
        (FRAME, WITH),
        (f"{FRAME}\r\nE\r\n", f"{FRAME}\r\n    {SOURCE}\r\nE\r\n"),
        (f"[ERROR] E\rT:\r{NBSP}\n", f"[ERROR] E\rT:\r{NBSP}\r\u00a0\u00a0\u00a0\u00a0{SOURCE}\n"),
        (f"T:\r{NBSP}\rE\n", f"T:\r{NBSP}\r\u00a0\u00a0\u00a0\u00a0{SOURCE}\rE\n"),
        (f"\t{FRAME.strip()}\n", f"\t{FRAME.strip()}\n\t\t\t{SOURCE}\n"),
        (f"{FRAME.strip()}\n", f"{FRAME.strip()}\n  {SOURCE}\n"),
        (f"  | {FRAME}\n", f"  | {FRAME}\n  |     {SOURCE}\n"),
        (f"web-1 |{FRAME}\n  x\n", f"web-1 |{FRAME}\nweb-1 |    {SOURCE}\n  x\n"),
        (FRAME.replace(", line", " Line").split(",")[0], None),
        (f"{FRAME}\n{FRAME}\n", f"{WITH}\n{WITH}\n"),
        (
            f"{FRAME}\n  [Previous line repeated 9 more times]\n",
            f"{WITH}\n  [Previous line repeated 9 more times]\n",
        ),
        (f"{WITH}\n", f"{WITH}\n"),
        (f"{WITH}\n        ^^^^\n", f"{WITH}\n        ^^^^\n"),
        (f"{FRAME}\n    an older line\n", f"{FRAME}\n    an older line\n"),
        (f"  | {FRAME}\n  |     {SOURCE}\n", f"  | {FRAME}\n  |     {SOURCE}\n"),
    ],
)
def test_a_line_looks_like_its_frame(text: str, restored: str | None) -> None:
    got = restored_in(text)
    if restored is None:
        assert got.startswith(text)
        assert got.endswith(f"\n    {SOURCE}")
    else:
        assert got == restored


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing\n",
        frame(1, "f", "pkg/kept.py") + "\n",
        '  File "/var/runtime/bootstrap.py", line 60, in main\n',
        '  File "/opt/python/app.py", line 99, in nobody\n',
        '  File "<string>", line 1, in <module>\n',
        '  File "<frozen importlib._bootstrap>", line 1, in f\n',
        '  File "/var/task/template.html", line 1, in root\n',
        '  File "/var/task/x.pyx", line 1, in f\n',
        '  File "/var/task/app.py"\n',
        "/var/task/app.py:21:inner\n",
        'File "/var/task/app.py", line 99999999999999999999, in f\n',
        '{"a": "/var/task/app.py", broken json\n',
        '{"location": "/var/task/app.py:inner:21",  "x":1}\n',
        "\x00\udcff /var/task/ \u2028\n",
    ],
)
def test_what_is_no_frame_of_a_removed_source_stays(text: str) -> None:
    assert restored_in(text) == text


def test_a_layer_has_another_root() -> None:
    text = '  File "/opt/python/app.py", line 21, in inner\n'
    assert restored_in(text, companion("/opt/python")) == f"{text}    {SOURCE}\n"
    assert restored_in(f"{FRAME}\n", companion("/opt/python")) == f"{FRAME}\n"


# JSON.

STACK = [f"{FRAME}\n", '  File "/var/runtime/x.py", line 1, in f\n    pass\n', FRAME]
RESTORED = [f"{WITH}\n", STACK[1], WITH]
DUMPS: dict[str, Any] = {
    "spaced": json.dumps,
    "tight": lambda value: json.dumps(value, separators=(",", ":")),
    "unicode": lambda value: json.dumps(value, ensure_ascii=False),
    "indented": lambda value: json.dumps(value, indent=4),
}


@pytest.mark.parametrize("style", DUMPS)
@pytest.mark.parametrize("place", ["@", "@\n", "2026-11-24 [$LATEST]a {x} @\n@\n", "\n @ \n"])
def test_json_is_restored_in_its_own_style(style: str, place: str) -> None:
    def event(stack: list[str]) -> str:
        value = {"level": "ERROR", "message": "é: no", "stackTrace": stack, "n": [1, None, 1.5]}
        return str(DUMPS[style](value))

    text, restored = (place.replace("@", event(stack)) for stack in (STACK, RESTORED))
    assert restored_in(text) == restored
    assert restored_in(restored) == restored


def test_json_in_json_is_restored() -> None:
    """As `aws logs filter-log-events` prints a log of JSON lines, and one of text."""

    def document(*stack: str, text: str) -> str:
        messages = [json.dumps({"stackTrace": [*stack]}) + "\n", f"[ERROR] E\rT:\r{text}"]
        return json.dumps({"events": [{"message": m} for m in messages]}, indent=4) + "\n"

    before = document(*STACK, text=f"{NBSP}\n")
    after = document(*RESTORED, text=f"{NBSP}\r\u00a0\u00a0\u00a0\u00a0{SOURCE}\n")
    assert restored_in(before) == after


def test_everything_else_of_json_comes_through_as_it_was() -> None:
    """Numbers, keys that are there twice, escapes, and characters that are none."""
    before, after = (json.dumps(one) for one in (FRAME, WITH))
    shell = '{"d":1.10, "e":1E2,"a":1,"a":2,"big":1e999,"é":"\\u00e9\\/\\ud800 \\udc80","s":@}\n'
    assert restored_in(shell.replace("@", before)) == shell.replace("@", after)
    inside = '"\\ud83d\\ude00\\t\\ud800\\n@\\n\\u002e"'
    assert restored_in(inside.replace("@", before[1:-1])) == inside.replace("@", after[1:-1])


def test_json_of_several_lines_is_restored_beside_others() -> None:
    def log(stack: list[str]) -> str:
        event = json.dumps({"stackTrace": stack}, indent=2)
        return f"2026-11-24 {event}\n{event}\nand text\n"

    assert restored_in(log(STACK)) == log(RESTORED)


def test_json_without_frames_keeps_its_text() -> None:
    text = '{ "a":1,"b" : "/var/task/x" }\n{"a": "/var/task/", "a": 2}\n'
    assert restored_in(text) == text


def test_deep_json_stays() -> None:
    text = "[" * 100_000 + '"/var/task/"' + "]" * 100_000
    assert restored_in(text) == text
    text = '{"a":' * 500 + json.dumps(FRAME) + "}" * 500
    assert json.loads(restored_in(text))


# A companion of another package.


@pytest.mark.parametrize(
    ("text", "where"),
    [
        (frame(1, "f", "missing.py"), "missing.py:1"),
        (frame(29, "method"), "app.py:29"),
        (frame(0, "<module>"), "app.py:0"),
        (frame(4, "<module>"), "app.py:4"),  # blank
        (frame(2, "<module>"), "app.py:2"),  # a comment
        (frame(11, "handler"), "app.py:11"),  # blank, inside
        (frame(21, "handler"), "app.py:21"),  # another function's
        (frame(21, "nobody"), "app.py:21"),
        (json.dumps({"stackTrace": [frame(21, "nobody")]}), "app.py:21"),
        (f"{FRAME}\n{frame(21, 'nobody')}", "app.py:21"),
        (frame(99, None, "pkg/broken.py"), "pkg/broken.py:99"),
    ],
)
def test_a_companion_that_contradicts_the_log_is_refused(text: str, where: str) -> None:
    with pytest.raises(CompanionError, match="is in a traceback") as caught:
        restored_in(text)
    assert caught.value.where == where
    assert "written with the package" in caught.value.fix


def test_with_a_proved_companion_other_frames_stay() -> None:
    """They are of an earlier deployment, or of a text that somebody has sent."""
    text = f"{frame(1, 'f', 'missing.py')}\n{FRAME}\n{frame(21, 'nobody')}\n"
    done = restore_tracebacks(text, HERE, certain=True)
    assert done.text == text.replace(FRAME, WITH)
    assert (done.lines, done.strangers) == (1, ("missing.py:1", "app.py:21"))


def test_a_frame_of_bytecode_that_came_without_its_source_stays() -> None:
    known = Companion(
        "0" * 64, None, "python3.13", "/var/task", Tree(), frozenset(), frozenset({"old.py"})
    )
    text = f"{frame(3, 'f', 'old.py')}\n"
    assert restored_in(text, known) == text


TYPES = "type Alias = undefined\ndef f[T: missing](x: T) -> T:\n    return x\n"


@pytest.mark.parametrize(("line", "name"), [(1, "Alias"), (2, "T")])
def test_type_aliases_and_parameters_are_scopes(line: int, name: str) -> None:
    sources = Tree([Entry.of("app.py", TYPES)])
    known = Companion("0" * 64, None, "python3.13", "/var/task", sources, frozenset())
    text = f"{frame(line, name)}\n"
    assert restored_in(text, known) == f"{text}    {TYPES.splitlines()[line - 1]}\n"


def test_an_empty_module_may_fail_and_has_no_line_to_show() -> None:
    known = Companion(
        "0" * 64, None, "python3.9", "/var/task", Tree([Entry.of("a.py")]), frozenset()
    )
    text = f"{frame(1, '<module>', 'a.py')}\n"
    assert restored_in(text, known) == text


def test_a_column_before_the_frame_is_no_indent() -> None:
    columns = "EVENTS\t1700\t"
    text = f"{columns}{FRAME}\n"
    assert restored_in(text) == f"{text}{columns}    {SOURCE}\n"


# Real tracebacks.


def run(code: CodeType) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "app"}
    exec(code, space)  # noqa: S102 - our own source
    return space


@pytest.mark.parametrize("call", ["handler", "method"])
def test_a_traceback_of_this_python_is_as_with_its_sources(call: str) -> None:
    space = run(compile(APP, "/var/task/app.py", "exec", dont_inherit=True))
    function = space["handler"].__wrapped__ if call == "handler" else space["Class"]().method
    space["handler"] = space["handler"].__wrapped__
    with pytest.raises(ValueError, match="no") as caught:
        function(*[{}] if call == "handler" else ())
    linecache.clearcache()
    # As Lambda's client formats it: without columns, and with no more than one line of source.
    bare = "".join(plain(caught.value))
    linecache.cache["/var/task/app.py"] = (len(APP), None, APP.splitlines(keepends=True), "")
    try:
        full = "".join(plain(caught.value))
    finally:
        linecache.clearcache()
    assert bare != full
    assert restored_in(bare) == full


def plain(error: BaseException) -> list[str]:
    frames = [
        (f.filename, f.lineno or 0, f.name, f.line)
        for f in traceback.extract_tb(error.__traceback__)
    ]
    lines = ["Traceback (most recent call last):\n", *traceback.format_list(frames)]
    chained = [*plain(error.__cause__), "\n"] if error.__cause__ else []
    return [*chained, *lines, f"{type(error).__name__}: {error}\n"]


# Properties.

pieces = st.sampled_from(
    [
        FRAME,
        WITH,
        NBSP,
        "\n",
        "\r",
        "\r\n",
        " ",
        "{",
        '"',
        "}",
        "  | ",
        "T:",
        json.dumps(STACK),
        "…",
    ]
)
texts = st.lists(pieces, max_size=12).map("".join)


@given(texts)
@example(json.dumps([STACK, FRAME]) + FRAME)
def test_a_second_time_changes_nothing(text: str) -> None:
    once = restored_in(text)
    assert restored_in(once) == once


@given(st.text(), st.text())
def test_text_without_the_root_is_returned_as_it_is(one: str, two: str) -> None:
    text = f"{one}/var/{two}"
    assert restored_in(text) == text


@given(texts)
def test_nothing_is_lost(text: str) -> None:
    """Without the added lines, the text is what it was."""
    rest = iter(restored_in(text))
    assert all(character in rest for character in text)


def test_a_large_log_takes_seconds() -> None:
    lines = ["2026-11-24T00:00:00Z INFO something /var/task/ happened " + "x" * 60 + "\n"] * 100_000
    text = "".join([*lines, f"{FRAME}\n"])
    started = time.perf_counter()
    assert restored_in(text) == text[: -len(FRAME) - 1] + f"{WITH}\n"
    assert time.perf_counter() - started < 30


@pytest.mark.parametrize("piece", [" ", 'File "/var/task/', "{", '{"a":', "\r", '", line 1'])
def test_hostile_lines_take_bounded_time(piece: str) -> None:
    started = time.perf_counter()
    restored_in("/var/task/" + piece * 200_000)
    assert time.perf_counter() - started < 20
