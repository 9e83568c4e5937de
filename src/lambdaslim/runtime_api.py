"""A Lambda Runtime API on the loopback, and the real runtime client run against it.

`awslambdaric` is the program that runs a handler on Lambda. It asks its Runtime API for the next
event over HTTP and posts what the handler answered; here the API is a thread of this process. So a
package is run by the code that runs it in production, in an interpreter of its runtime's version.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

_PREFIX = "/2018-06-01/runtime/"
_NAME = "verified"
_FUNCTION = f"arn:aws:lambda:us-east-1:123456789012:function:{_NAME}"
_DEADLINE = 900.0

# What the runtime's bootstrap does, seen from the package: it comes first on the path, its .pth
# files are executed, the client and the provided packages come next, as they lie in
# /var/lang/lib/python3.X/site-packages. `python -m awslambdaric` alone would run no .pth file.
_BOOTSTRAP = """
import runpy, site, sys
package, handler, *provided = sys.argv[1:]
site.setquit(); site.sethelper(); site.setcopyright()
sys.path[:0] = [package, *provided]
site.addsitedir(package)
sys.argv = ["awslambdaric", handler]
runpy.run_module("awslambdaric", run_name="__main__", alter_sys=True)
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client posted: the handler's answer, or an error and where it arose.

    `kind` is "response" (`body` is the handler's answer), "error" (the handler raised) or
    "init/error" (it could not be imported); for errors, `body` has `errorType` and `errorMessage`.
    `log` is what the process wrote to its standard streams.
    """

    kind: str
    body: Any
    log: str


class NoAnswerError(Exception):
    """The client died, or was ended after the timeout, without having posted anything."""


def function_environment(package: Path, scratch: Path) -> dict[str, str]:
    """Return the variables that Lambda sets for a function, but for those of the runtime client.

    Nothing of this process's own environment is among them. `package` stands for /var/task, and
    `scratch` is what the function may write to.
    """
    return {
        "LAMBDA_TASK_ROOT": str(package),
        "LD_LIBRARY_PATH": str(package / "lib"),
        "AWS_LAMBDA_FUNCTION_NAME": _NAME,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1024",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "none",
        "AWS_SECRET_ACCESS_KEY": "none",
        "AWS_EC2_METADATA_DISABLED": "true",
        "LANG": "en_US.UTF-8",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "TZ": ":UTC",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
    }


class RuntimeApi:
    """A Runtime API for one invocation at a time; a context manager that starts and stops it."""

    def __init__(self, client: Path, *, timeout: float = 60.0) -> None:
        """Bind to a free port of the loopback.

        Args:
            client: a directory with `awslambdaric` for the interpreter that will be used.
            timeout: seconds within which the client must have answered.
        """
        self.client = client
        self.timeout = timeout
        self._server = _Server(("127.0.0.1", 0), _Requests)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop serving, and wait for the threads."""
        self._server.finished.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def invoke(  # noqa: PLR0913 - what a function is, and what it is given
        self,
        package: Path,
        handler: str,
        event: object,
        python: Path,
        *,
        extra_path: Sequence[Path] = (),
        variables: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run `handler` of the unzipped `package` once, and return what the client posted.

        Args:
            package: the directory that is /var/task on Lambda.
            handler: "module.function", as configured on Lambda.
            event: anything that JSON can hold.
            python: the interpreter, of the version that the package is made for.
            extra_path: directories with what else the runtime provides, such as its SDK.
            variables: more of the function's environment variables.

        Raises:
            NoAnswerError: the client died or took too long.
        """
        self._server.expect(event)
        command = [python, "-I", "-S", "-B", "-c", _BOOTSTRAP, package, handler, self.client]
        # What a process that is being killed still writes there must not become our error.
        scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        with scratch as directory, tempfile.TemporaryFile() as log:
            environment = {
                **function_environment(package, Path(directory)),
                "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_address[1]}",
                "_HANDLER": handler,
                **(variables or {}),
            }
            arguments = [*map(str, command), *map(str, extra_path)]
            with _running(arguments, package, environment, log) as process:
                posted = self._posted(process)
            if posted is None:
                raise NoAnswerError(f"nothing was posted; the client's log:\n{_text(log)}")
            kind, body = posted
            return Answer(kind, body, _text(log))

    def _posted(self, process: subprocess.Popen[bytes]) -> tuple[str, Any] | None:
        """Wait for the post, but not longer than the client lives."""
        latest = time.monotonic() + self.timeout
        while time.monotonic() < latest:
            # What a client posts last may still be on its way when it is seen to have ended.
            ended = process.poll() is not None
            try:
                return self._server.posted.get(timeout=1.0 if ended else 0.05)
            except queue.Empty:
                if ended:
                    break
        return None


class _Server(ThreadingHTTPServer):
    """The state that the requests share: one event to hand out, and what was posted for it."""

    # Closing waits for the threads, so that no socket outlives the block.
    daemon_threads = False

    def expect(self, event: object) -> None:
        """Forget the invocation before, and offer `event` to the next client that asks."""
        self.events: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.posted: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.events.put(json.dumps(event).encode())

    def server_activate(self) -> None:
        """Prepare the state before the first request can come in."""
        self.finished = threading.Event()
        super().server_activate()

    def handle_error(self, request: object, client_address: object) -> None:
        """Stay silent: a connection broke because its client was killed, or it spoke no HTTP."""


class _Requests(BaseHTTPRequestHandler):
    """The four calls of the Runtime API that the client makes."""

    protocol_version = "HTTP/1.1"

    @property
    def _shared(self) -> _Server:
        assert isinstance(self.server, _Server)  # noqa: S101 - RuntimeApi makes no other
        return self.server

    def do_GET(self) -> None:
        """Answer `invocation/next`: at once the first time, then never, as if no event came."""
        if self.path != f"{_PREFIX}invocation/next":
            self._answer(404, b"{}")
            return
        try:
            event = self._shared.events.get_nowait()
        except queue.Empty:
            # The client is killed long before this returns.
            self._shared.finished.wait()
            self.close_connection = True
            return
        self._answer(
            200,
            event,
            {
                "Lambda-Runtime-Aws-Request-Id": str(uuid.uuid4()),
                "Lambda-Runtime-Deadline-Ms": str(int((time.time() + _DEADLINE) * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": _FUNCTION,
            },
        )

    def do_POST(self) -> None:
        """Take `init/error`, `invocation/ID/response` or `invocation/ID/error`."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kind = "init/error" if self.path.endswith("init/error") else self.path.rpartition("/")[2]
        self._answer(202, b'{"status": "OK"}')
        self._shared.posted.put((kind, _decoded(body)))

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        """Stay silent: the answer tells what went wrong."""


@contextmanager
def _running(
    command: Sequence[str], directory: Path, environment: Mapping[str, str], log: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run the client for as long as the block lasts, then kill it: it waits for events forever."""
    process = subprocess.Popen(
        command,
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        # With what the handler has started.
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _decoded(body: bytes) -> Any:  # noqa: ANN401 - what JSON may hold
    text = body.decode("utf-8", "replace")
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode("utf-8", "replace")
