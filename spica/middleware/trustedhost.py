"""Let only requests for known hosts pass.

The client chooses the Host header. A URL that an application builds from it, for example a link in an e-mail,
points to that host. So this layer refuses hosts that are not listed.

Standards: RFC 9110 s.7.2, RFC 9112 s.3.2 (Host), RFC 3986 s.3.2.2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from spica._asgi.scope import public_path
from spica._diagnostics.arguments import check_flag
from spica._diagnostics.middleware_order import CHECKS_HOST
from spica._http.host import encode_name, find_host, format_host, parse_host, parse_host_name
from spica._originals import remember
from spica.datastructures import URL
from spica.exceptions import warn_configuration
from spica.layers import Answer, Layer, deny
from spica.responses.base import RedirectResponse, Response
from spica.responses.errors import error_response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Receive, Scope, Send


_USUAL_PORT_SIZE = 5  # digits


class TrustedHostMiddleware(Layer):
    """Answer 400 unless the Host field names one of `allowed_hosts`.

    The comparison ignores the port and the case. A colon without a port is malformed, because clients do not
    send one, and a name with a final dot is a different name.

    Args:
        app: the inner app.
        allowed_hosts: names, addresses (IPv6 in brackets), ``*.example.org`` for every name below
            ``example.org`` (but not the name itself), or ``*`` for all. None, the default, allows all.
        www_redirect: whether a host gets a 307 to the same name with ``www.`` if only that one is allowed.

    Example:
        ``Middleware(TrustedHostMiddleware, allowed_hosts=["example.org", "*.example.org"])``
    """

    middleware_traits = (CHECKS_HOST,)

    def __init__(
        self,
        app: ASGIApp,
        allowed_hosts: Sequence[str] | None = None,
        www_redirect: bool = True,
    ) -> None:
        """Check the settings.

        Raises:
            TypeError: `allowed_hosts` is a single string, or has an item that is not a string.
            ValueError: an allowed host can never match.
        """
        self.app = app
        self.allowed_hosts = _check_hosts(["*"] if allowed_hosts is None else allowed_hosts)
        self.allow_any = "*" in self.allowed_hosts
        self.www_redirect = check_flag(www_redirect, "TrustedHostMiddleware: www_redirect")
        self._names = {host for host in self.allowed_hosts if "*" not in host}
        self._spellings = {name.encode() for name in self._names}
        self._endings = tuple(host[1:] for host in self.allowed_hosts if host.startswith("*."))
        if not self.allowed_hosts:
            warn_configuration(
                "TrustedHostMiddleware: allowed_hosts is empty, so every request is answered with "
                "400. List your hosts, or '*' for all.",
            )

    async def respond(self, request: Request[Any]) -> Answer:
        """Return the inner response, or the refusal."""
        if not self.allow_any:
            refusal = self._refuse(request.scope)
            if refusal is not None:
                return refusal
        return await self.inner.respond(request)

    async def connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a WebSocket in the same way. Other scopes pass."""
        if scope["type"] == "websocket" and not self.allow_any:
            refusal = self._refuse(scope)
            if refusal is not None:
                await deny(refusal, scope, receive, send)
                return
        await self.inner.connect(scope, receive, send)

    def _refuse(self, scope: Scope) -> Response | None:
        """Return the refusal, or None if the host is allowed."""
        # RFC 9112 s.3.2: answer 400 if the Host header is missing or invalid, or if two of them differ.
        field = find_host(scope["headers"])
        if field is None:
            return _refusal(scope)
        # Fast path: nearly every host is spelled like the setting, alone or with a port.
        name, _, digits = field.partition(b":")
        if field in self._spellings or (
            name in self._spellings and digits.isdigit() and len(digits) <= _USUAL_PORT_SIZE
        ):
            return None
        return self._judge(field.decode("latin-1"), scope)

    def _judge(self, text: str, scope: Scope) -> Response | None:
        """Return the refusal of a host in any spelling, or None if it is allowed."""
        # RFC 3986 s.3.2.3: producers should omit the colon of an empty port.
        host = None if text.endswith(":") else parse_host_name(text)
        if host is None:
            return _refusal(scope)
        # A subdomain needs a label of its own, which ".example.org" lacks.
        if host in self._names or (host.endswith(self._endings) and host[0] != "."):
            return None
        if self.www_redirect and "www." + host in self._names:
            # Omit a port that is not allowed in a URL.
            _, port = parse_host(text) or (host, None)
            netloc = format_host("www." + host, port)
            url = URL(scope={**scope, "path": public_path(scope)})
            return RedirectResponse(url.replace(netloc=netloc))
        return _refusal(scope)


remember(TrustedHostMiddleware, "respond")


def _refusal(scope: Scope) -> Response:
    return error_response(scope, 400, "Invalid host header")


def _check_hosts(hosts: Iterable[str]) -> list[str]:
    location = "TrustedHostMiddleware: allowed_hosts"
    if isinstance(hosts, (str, bytes)):
        raise TypeError(
            f"{location} must be a list of strings, not the string {hosts!r}. Write [{hosts!r}]."
        )
    if not isinstance(hosts, Iterable):
        raise TypeError(f"{location} must be a list of strings, not {hosts!r:.80}.")
    return [_check_host(host, location) for host in hosts]


def _check_host(host: str, location: str) -> str:
    if not isinstance(host, str):
        raise TypeError(f"{location} must be strings, not {host!r:.80}.")
    if host == "*":
        return host
    name = host.removeprefix("*.")
    if "*" in name:
        raise ValueError(
            f"{location} has {host!r}. Domain wildcard patterns must be like '*.example.com'."
        )
    try:
        parsed = parse_host(encode_name(name))
    except UnicodeError:
        parsed = None
    except ValueError as error:
        raise ValueError(f"{location} has {host!r}, which {error}.") from None
    if parsed is None or parsed[1] is not None or name.endswith(":"):
        raise ValueError(
            f"{location} has {host!r}, which can never match: it must be a host name or an address "
            "(IPv6 in brackets) without scheme, port and path."
        )
    return parsed[0] if name == host else "*." + parsed[0]
