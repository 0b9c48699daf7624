"""Start a server or a proxy as a process of its own, and ask it by HTTP."""

import http.client
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ports import free_port

START_SECONDS = 60

NGINX = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
{server}
    }}
}}
"""


class Answer(NamedTuple):
    """A response over a socket."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def connect(port: int, source: str = "127.0.0.1") -> http.client.HTTPConnection:
    """Return a connection from the address ``source``."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(source, 0))


def ask(
    port: int,
    path: str,
    headers: Mapping[str, str] = {},
    *,
    method: str = "GET",
    source: str = "127.0.0.1",
    body: bytes | None = None,
) -> Answer:
    connection = connect(port, source)
    try:
        connection.request(method, path, body, {"Connection": "close", **headers})
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


@contextmanager
def process_of(
    command: list[str], folder: Path, name: str, is_ready: Callable[[], bool]
) -> Iterator[None]:
    """Run a command until the block ends. Its output goes to a file."""
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_until(is_ready, process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def nginx_of(folder: Path, server: str, is_ready: Callable[[int], bool]) -> Iterator[int]:
    """Run nginx with the directives ``server`` until the block ends. The value is its port."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, server=server))
    command = [program, "-p", str(folder), "-c", str(config)]
    with process_of(command, folder, "nginx", lambda: is_ready(port)):
        yield port


def _wait_until(is_so: Callable[[], bool], process: subprocess.Popen[Any], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if is_so():
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"It does not answer:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)
