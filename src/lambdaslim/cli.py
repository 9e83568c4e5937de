"""The command: parses, calls, prints, exits. stdout is the result, stderr the progress."""

from __future__ import annotations

import argparse
import gc
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lambdaslim import __version__
from lambdaslim.errors import OutputError, SlimError, UsageError, VendorError, printable

_OK, _FAILED, _USAGE, _VENDORING = 0, 1, 2, 3
# Of malloc.h: from how many places memory is taken, from how many bytes on a piece is the system's
# own, which it gets back at once, and how many free ones it gets back otherwise. The system clears
# what it hands out, which for the same few large pieces again and again takes a while.
_ARENA_MAX, _MMAP_THRESHOLD, _TRIM_THRESHOLD = -8, -3, -1
_LARGE, _FREE = 32 << 20, 64 << 20
# Objects between two searches for cycles: reading sources makes millions, and no cycles.
_SELDOM = 200_000
# Seconds after which a thread that runs Python lets another one do so: one that has compressed a
# file would else wait longer for its turn than the file took.
_OFTEN = 0.0005
# Signals that end a process unless it says otherwise; Windows has no hang-up.
_ENDINGS = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
_EXIT_CODES = """\
exit codes:
  0  done
  1  a limit or another check failed
  2  usage, configuration, input or output is wrong
  3  vendoring failed
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with `arguments` (default: those of the process); return the exit code."""
    _open_streams()
    try:
        given = _parser().parse_args(arguments)
    except SystemExit as end:  # --help, --version, or a mistake, which argparse has told
        return _flushed(end.code)
    given.colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    with suppress(ValueError):  # only the main thread may set handlers
        for number in _ENDINGS:
            signal.signal(number, _ended)
    try:
        return _answer(given)
    except SlimError as error:
        _complain(str(error))
        return _VENDORING if isinstance(error, VendorError) else _USAGE
    except KeyboardInterrupt as interrupt:
        _complain("interrupted")
        # All temporaries are removed by now. A usual exit would wait for compressing threads, for
        # ever if the interrupt came while one of their locks was held.
        os._exit(interrupt.code if isinstance(interrupt, _EndedError) else 128 + signal.SIGINT)
    except OSError as error:
        _complain(f"{error}; check the path and the disk")
        return _USAGE


def _flushed(code: object) -> int:
    """Return the exit code after what argparse has written, 2 if that cannot be."""
    try:
        _write("")
    except OutputError as error:
        _complain(str(error))
        return _USAGE
    return code if isinstance(code, int) else _OK


class _EndedError(KeyboardInterrupt):
    """A signal that ends the process, which leaves as on Ctrl-C, with another exit code."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.code = 128 + number


def _ended(number: int, frame: object) -> NoReturn:  # noqa: ARG001 - the handler's contract
    raise _EndedError(number)


def _answer(given: argparse.Namespace) -> int:
    # Here, so that --help and --version answer at once.
    from lambdaslim import commands, config  # noqa: PLC0415

    function = {
        "pack": commands.pack,
        "slim": commands.slim,
        "check": commands.check,
        "verify": commands.verify,
        "traceback": commands.traceback,
        "vendor": commands.vendor,
        "passes": commands.list_passes,
        "runtimes": commands.list_runtimes,
    }[given.command]
    if given.command in ("pack", "slim"):
        _share_memory()
        config.complete(given)
        if given.command == "pack" and given.runtime is None:
            fix = "name the Lambda runtime, like python3.13"
            raise UsageError("is needed", where="--runtime", fix=fix)
    with _tuned():
        answer = function(given, _progress)
    _write(answer.text)
    if answer.note:
        _tell(f"lambdaslim: note: {printable(answer.note)}")
    if answer.complaint:
        _complain(answer.complaint)
    return answer.code


@contextmanager
def _tuned() -> Iterator[None]:
    """Set what suits reading many sources and compressing in threads, for as long as that lasts."""
    thresholds, interval = gc.get_threshold(), sys.getswitchinterval()
    gc.set_threshold(_SELDOM)
    sys.setswitchinterval(_OFTEN)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)


def _share_memory() -> None:
    """Have all threads take memory from one place, which each of them can use again.

    glibc gives each thread its own, which keeps what was large and is free, and keeps more the
    larger it was. Other C libraries have no such function.
    """
    if sys.platform == "linux":
        import ctypes  # noqa: PLC0415 - for the commands that have large files to read

        with suppress(OSError, AttributeError):
            c = ctypes.CDLL(None)
            c.mallopt(_ARENA_MAX, 1)
            c.mallopt(_MMAP_THRESHOLD, _LARGE)
            c.mallopt(_TRIM_THRESHOLD, _FREE)


def _open_streams() -> None:
    """Make the standard streams take any text, and exist: a caller may have closed them."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - for the life of the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _write(text: str | bytes) -> None:
    try:
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would make the interpreter complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A reader that has gone (`| head`) has read enough.
        if not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"cannot be written: {error.strerror}",
                where="standard output",
                fix="lead it elsewhere; what the command itself wrote is in its place",
            ) from error


def _progress(line: str) -> None:
    if sys.stderr.isatty():
        _tell(f"lambdaslim: {printable(line)}")


def _complain(message: str) -> None:
    _tell(f"lambdaslim: error: {message}")


def _tell(line: str) -> None:
    """Write a line to stderr; where that cannot be written, the exit code has to do."""
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


class _Parser(argparse.ArgumentParser):
    """Complains in one line, as for every other bad input."""

    def error(self, message: str) -> NoReturn:
        _complain(f"{message}; see `{self.prog} --help`")
        sys.exit(_USAGE)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lambdaslim",
        description="Turn a directory of installed Python packages into the smallest working "
        "AWS Lambda package.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"lambdaslim {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_pack(commands)
    _add_slim(commands)
    _add_check(commands)
    _add_verify(commands)
    _add_traceback(commands)
    _add_vendor(commands)
    for name, what in (("passes", "list the passes"), ("runtimes", "list the Lambda runtimes")):
        _add_json(commands.add_parser(name, help=what, description=f"{what.capitalize()}."))
    return parser


if TYPE_CHECKING:
    # argparse gives what add_subparsers() returns no public name.
    _Commands = argparse._SubParsersAction["_Parser"]  # noqa: SLF001


def _add_pack(commands: _Commands) -> None:
    text = "Slim directories of installed packages, and your code, into one zip."
    parser = commands.add_parser("pack", help="slim directories into a zip", description=text)
    parser.add_argument("source", nargs="+", metavar="SRC", help="a directory; several overlay")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.zip", help="the zip to write")
    _add_slimming(parser, default_runtime="")
    _add_compression(parser)
    _add_upload(parser)
    _leave_open(parser)


def _add_slim(commands: _Commands) -> None:
    text = "Slim directories of installed packages into a directory, or one in place."
    parser = commands.add_parser("slim", help="slim directories into one", description=text)
    parser.add_argument("source", nargs="+", metavar="SRC", help="a directory; several overlay")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--to", metavar="DIR", help="the directory to write (new or empty)")
    where.add_argument("--in-place", action="store_true", help="replace SRC itself, at the end")
    _add_slimming(parser, default_runtime=" (default: the running Python's)")
    _leave_open(parser)


def _leave_open(parser: argparse.ArgumentParser) -> None:
    """Give no defaults to what a configuration may say, see `config.complete`."""
    names = ("runtime", "arch", "preset", "strict", "bytecode", "optimize", "upload", "compression")
    parser.set_defaults(**dict.fromkeys(names))


def _add_slimming(parser: argparse.ArgumentParser, *, default_runtime: str) -> None:
    text = f"the Lambda runtime, like python3.13{default_runtime}"
    parser.add_argument("--runtime", metavar="NAME", help=text)
    _add_architecture(parser)
    add = parser.add_argument
    add("--preset", default="safe", metavar="NAME", help="safe (default), small or classic")
    _add_many(parser, "--keep", "PATTERN", "gitignore pattern of files that no pass may touch")
    _add_many(parser, "--drop", "PATTERN", "gitignore pattern of files to remove first")
    _add_many(parser, "--skip", "PASS", "a pass to leave out (see `lambdaslim passes`)")
    text = "a service that the code uses, like s3; data for others goes"
    _add_many(parser, "--service", "NAME", text, dest="services")
    text = "a language whose data stays, like de; that of others goes"
    _add_many(parser, "--locale", "NAME", text, dest="locales")
    text = "do without the bundled keep-rules of single distributions"
    add("--no-knowledge", action="store_false", dest="knowledge", help=text)
    text = "do not look for code that needs what passes would take away"
    add("--no-hazards", action="store_false", dest="hazards", help=text)
    _add_limits(parser)
    add("--allow-oversize", action="store_true", help="write the package though over a limit")
    text = "refuse (default), or take what links inside the sources, or all links, lead to"
    add("--symlinks", default="refuse", choices=("refuse", "inside", "follow"), help=text)
    _add_bytecode(parser)
    add("--verify", action="store_true", help="refuse a package in which less works than before")
    text = "if the verification fails, keep the fewest files that make it pass (implies --verify)"
    add("--heal", action="store_true", help=text)
    _add_checks(parser)
    text = "a pyproject.toml with [tool.lambdaslim] (default: that of the working directory)"
    add("--config", metavar="FILE", help=text)
    text = "compute everything anew, and keep nothing for the next run"
    add("--no-cache", action="store_false", dest="cache", help=text)
    add("--dry-run", action="store_true", help="report, but write nothing")
    _add_json(parser)


def _add_compression(parser: argparse.ArgumentParser) -> None:
    text = (
        "zlib (default) or zlib:0 to zlib:9; with the extra max also libdeflate (level 10), "
        "libdeflate:1 to libdeflate:12, max (libdeflate:12), ultra (zopfli, slow)"
    )
    parser.add_argument("--compression", default="zlib", metavar="SPEC", help=text)
    text = "compress the tree before slimming too, and report its bytes (takes its time)"
    parser.add_argument("--compare", action="store_true", help=text)


def _add_bytecode(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--interpreter", metavar="PATH", help="a Python of the runtime's version to compile with")
    text = "in place of sources (legacy, default), beside them (cached), or not at all (none)"
    add("--bytecode", default="legacy", choices=("legacy", "cached", "none"), help=text)
    text = "0 (default), 1 to leave out assertions, 2 to leave out docstrings too"
    add("--optimize", default=0, type=int, choices=(0, 1, 2), help=text)
    text = "where the package is unpacked (default: /var/task; a layer: /opt or /opt/python)"
    add("--root", default="/var/task", metavar="PATH", help=text)
    text = "fail if sources stay because no interpreter of the runtime's version was found"
    add("--require-bytecode", action="store_true", help=text)
    text = "write the removed sources there, for `lambdaslim traceback`"
    add("--sources", metavar="OUT.src.zip", help=text)


def _add_traceback(commands: _Commands) -> None:
    text = "Put source lines back into the tracebacks of a function's log."
    parser = commands.add_parser("traceback", help="restore tracebacks", description=text)
    add = parser.add_argument
    add("log", nargs="?", default="-", metavar="LOG", help="a log (default: standard input)")
    text = "the companion that `pack --sources` wrote"
    add("--sources", required=True, metavar="OUT.src.zip", help=text)
    add("--package", metavar="ZIP|DIR", help="the package that ran, to compare with the companion")
    text = "a digest of the package that ran, such as its CodeSha256, to compare"
    _add_many(parser, "--digest", "DIGEST", text)


def _add_check(commands: _Commands) -> None:
    text = "Compare a package with Lambda's limits, and with a runtime if one is given."
    parser = commands.add_parser("check", help="compare with the limits", description=text)
    parser.add_argument("package", metavar="ZIP|DIR", help="a zip or a directory")
    text = "the Lambda runtime that it has to fit, like python3.13 (default: limits only)"
    parser.add_argument("--runtime", metavar="NAME", help=text)
    _add_architecture(parser)
    _add_limits(parser)
    _add_upload(parser)
    _add_json(parser)


def _add_verify(commands: _Commands) -> None:
    text = "Run a package before and after slimming, and compare what works. This runs its code."
    parser = commands.add_parser("verify", help="compare before and after", description=text)
    add = parser.add_argument
    text = "a directory or zip from before slimming; several directories overlay"
    add("before", nargs="+", metavar="BEFORE", help=text)
    add("--after", required=True, metavar="ZIP|DIR", help="what slimming made of it")
    _add_target(parser)
    _add_checks(parser)
    text = "gitignore pattern of files that were left out on purpose"
    _add_many(parser, "--removed", "PATTERN", text)
    add("--interpreter", metavar="PATH", help="a Python of the runtime's version")
    _add_json(parser)


def _add_checks(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--handler", metavar="MODULE.NAME", help="a handler that has to answer as before")
    add("--event", metavar="FILE", help="JSON that the handler is given (default: {})")
    add("--run", metavar="CMD", help="a shell command that has to succeed in the package")
    text = "a variable of the function; beside those that Lambda sets there are no others"
    _add_many(parser, "--env", "NAME=VALUE", text)
    text = "seconds for one import, invocation or run (default: 60)"
    add("--timeout", type=float, metavar="SECONDS", help=text)
    text = "a directory with awslambdaric, the runtime client (default: installs it)"
    add("--client", metavar="DIR", help=text)


def _add_vendor(commands: _Commands) -> None:
    text = "Install packages for a Lambda runtime into a directory, with uv or else pip."
    parser = commands.add_parser("vendor", help="install packages to slim", description=text)
    add = parser.add_argument
    add("requirement", nargs="*", metavar="REQ", help="a requirement, or a project's directory")
    _add_many(parser, "-r", "FILE", "a requirements file", dest="requirement_file")
    add("--into", required=True, metavar="DIR", help="the directory to fill (new or empty)")
    add("--installer", default="auto", choices=("auto", "uv", "pip"), help="default: uv, else pip")
    _add_target(parser)
    _add_json(parser)


def _add_target(parser: argparse.ArgumentParser) -> None:
    text = "the Lambda runtime, like python3.13"
    parser.add_argument("--runtime", required=True, metavar="NAME", help=text)
    _add_architecture(parser)


def _add_architecture(parser: argparse.ArgumentParser) -> None:
    text = "x86_64 (default) or arm64"
    parser.add_argument("--arch", default="x86_64", metavar="ARCH", help=text)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    _add_many(parser, "--layer", "ZIP|DIR", "a layer of the function, which counts too")
    parser.add_argument("--strict", action="store_true", help="let warnings fail the check too")
    _add_many(parser, "--allow", "CODE", "a finding that never fails the check, like compat-glibc")


def _add_upload(parser: argparse.ArgumentParser) -> None:
    text = "direct (default), or s3, which has no limit on the zip"
    parser.add_argument("--upload", default="direct", choices=("direct", "s3"), help=text)


def _add_many(
    parser: argparse.ArgumentParser, flag: str, metavar: str, text: str, dest: str | None = None
) -> None:
    dest = dest or flag.strip("-").replace("-", "_")
    parser.add_argument(
        flag, action="append", default=[], metavar=metavar, help=f"{text} (repeatable)", dest=dest
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
