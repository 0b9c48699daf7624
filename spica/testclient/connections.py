"""The settings and the open connections that the parts of an `AsyncTestClient` share."""

from typing import Any, cast

from spica.testclient.async_exchange import TaskExchange
from spica.testclient.faults import Faults, FaultyApp
from spica.testclient.interface import ASGI3App
from spica.testclient.outbox import Outbox, Watchdog
from spica.testclient.tasks import Runner, runner_of_loop


class Connections:
    """Start the exchanges of one client, and keep a list of the open ones.

    Args:
        app: the application.
        scope_options: the options of each scope: root_path, client and state.
        raise_app_exceptions: whether an exception of the application reaches the test.
        has_asgi_checks: whether a message that breaks a rule of ASGI is an error.
        timeout_seconds: the time to wait for a WebSocket message; None waits forever.

    Attributes:
        open: the open responses and WebSocket sessions; each has a `name` and `abandon`.
        faults: the faults of the connections that begin now, or None.
    """

    def __init__(
        self,
        app: ASGI3App,
        scope_options: dict[str, Any],
        *,
        raise_app_exceptions: bool,
        has_asgi_checks: bool,
        timeout_seconds: float | None,
    ) -> None:
        self.app = app
        self.scope_options = scope_options
        self.raise_app_exceptions = raise_app_exceptions
        self.has_asgi_checks = has_asgi_checks
        self.timeout_seconds = timeout_seconds
        self.watchdog = Watchdog()
        self.open: set[Any] = set()
        self.faults: Faults | None = None
        self._runner: Runner | None = None

    @property
    def runner(self) -> Runner:
        """The object that starts the tasks of the client.

        Raises:
            RuntimeError: the client was not entered.
        """
        self.require_open()
        return cast(Runner, self._runner)  # checked

    def require_open(self) -> None:
        """Check that the client was entered.

        Raises:
            RuntimeError: it was not.
        """
        if self._runner is None:
            raise RuntimeError(
                "The AsyncTestClient has not been entered, or is closed. "
                "Write: async with AsyncTestClient(app) as client: ..."
            )

    async def accept(self) -> None:
        """Accept connections from now on."""
        runner = runner_of_loop()
        await runner.open()
        self._runner = runner
        self.watchdog.clock = runner.clock
        runner.start(self.watchdog.run(), "timeouts of AsyncTestClient")

    def refuse(self) -> Runner:
        """Refuse new connections, and return the runner that the client must stop."""
        runner = self.runner
        self._runner = None
        return runner

    def outbox(self, seconds: float | None) -> Outbox:
        """Make an outbox whose reader waits `seconds` for an item."""
        return Outbox(self.watchdog, seconds, self.runner.make_event)

    def prepare(self, exchange: TaskExchange) -> ASGI3App:
        """Apply the settings of the client to an exchange, and return the app to run in it."""
        exchange.client = self
        exchange.has_asgi_checks = self.has_asgi_checks
        if self.faults is None:
            return self.app
        return FaultyApp(self.app, self.faults, exchange)

    async def abandon_all(self) -> list[str]:
        """Close all connections that are open, and return their names."""
        connections = sorted(self.open, key=_name_of)
        for connection in connections:
            await connection.abandon()
        return [connection.name for connection in connections]


def _name_of(connection: Any) -> str:
    return str(connection.name)
