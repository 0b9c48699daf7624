"""Send a gigabyte through a real server, both ways, and tell the memory that it took at most.

Linux only: the peak is read from ``/proc``.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import footprint
from benchmarks.processes import Served, status_kilobytes
from benchmarks.table import markdown_table
from benchmarks.transfer import CHUNK, GIGABYTE

ALLOWED_MEGABYTES = 64
FRAMEWORKS = ("spica", "starlette")


def download(served: Served) -> None:
    """Take a gigabyte, slowly at first: what the client has not taken must not pile up."""
    with served.connect() as connection:
        connection.sendall(b"GET /download HTTP/1.0\r\nHost: localhost\r\n\r\n")
        time.sleep(1)
        buffer = bytearray(1024 * 1024)
        received = 0
        while number := connection.recv_into(buffer):
            received += number
    if received < GIGABYTE:
        raise RuntimeError(f"only {received} bytes arrived")


def upload(served: Served) -> None:
    """Send a gigabyte as the plain body."""
    send_body(served, "/upload", "application/octet-stream", b"", b"")


def spool(served: Served) -> None:
    """Send a gigabyte as a file of a form."""
    head = b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    send_body(
        served, "/spool", "multipart/form-data; boundary=frontier", head, b"\r\n--frontier--\r\n"
    )


def send_body(served: Served, path: str, content_type: str, head: bytes, tail: bytes) -> None:
    length = len(head) + GIGABYTE + len(tail)
    with served.connect() as connection:
        connection.sendall(
            f"POST {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {length}\r\n\r\n".encode()
        )
        connection.sendall(head)
        for _ in range(GIGABYTE // len(CHUNK)):
            connection.sendall(CHUNK)
        connection.sendall(tail)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    if not answer.endswith(str(GIGABYTE).encode()):
        raise RuntimeError(f"POST {path} was answered with {answer[:500]!r}")


TRANSFERS: dict[str, Callable[[Served], None]] = {
    "1 GB streamed to the client": download,
    "1 GB body read as a stream": upload,
    "1 GB file uploaded in a form": spool,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--idle", action="store_true", help="only what lies idle: applications and WebSockets"
    )


def run(options: argparse.Namespace) -> int:
    """Print both tables; fail when a figure of spica is too high."""
    missed = 0 if options.idle else report()
    print()
    return footprint.report() or missed


def peak_megabytes(framework: str, transfer: Callable[[Served], None]) -> tuple[float, float]:
    """Return what a transfer took at most above the idle server, and its seconds."""
    with Served("uvicorn", framework, "transfer") as served:
        Path(f"/proc/{served.pid}/clear_refs").write_text("5", encoding="ascii")
        idle = status_kilobytes(served.pid, "VmRSS")
        begin = time.monotonic()
        transfer(served)
        seconds = time.monotonic() - begin
        return (status_kilobytes(served.pid, "VmHWM") - idle) / 1024, seconds


def report() -> int:
    """Print a table of the peaks above the idle server, and fail when one is too high."""
    missed = 0
    rows = []
    for title, transfer in TRANSFERS.items():
        cells = [title]
        for framework in FRAMEWORKS:
            peak, seconds = peak_megabytes(framework, transfer)
            missed += framework == "spica" and peak > ALLOWED_MEGABYTES
            cells += [f"{peak:.0f}", f"{seconds:.1f}"]
        rows.append([*cells, str(ALLOWED_MEGABYTES)])
    head = ["through uvicorn", "spica, peak MB", "seconds", "Starlette, peak MB", "seconds"]
    print(markdown_table([*head, "at most MB"], rows))
    return min(missed, 1)
