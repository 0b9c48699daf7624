"""Headers that make browsers protect a site: a content security policy, HSTS, and others.

All headers are prepared when the stack is built. Only a nonce is made per request, and only if it is used.

Standards: W3C Content Security Policy Level 3, RFC 6797 (Strict-Transport-Security), WHATWG HTML s.7.1.3
(Cross-Origin-Opener-Policy) and s.7.6 (X-Frame-Options), WHATWG Fetch s.3.5 (X-Content-Type-Options) and
s.3.7 (Cross-Origin-Resource-Policy), W3C Referrer Policy s.3, W3C Permissions Policy s.5.2.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from spica._asgi.scope import CSP_NONCE
from spica._diagnostics.arguments import check_flag, check_strings
from spica._diagnostics.middleware_order import SECURITY_HEADERS
from spica._http.csp import CSP
from spica._originals import remember
from spica.layers import Answer, EditableResponse, Layer
from spica.responses.base import Response

if TYPE_CHECKING:
    from spica.requests import Request
    from spica.types import ASGIApp, Scope

__all__ = ["CSP", "SecurityHeadersMiddleware", "has_nonce"]

REFERRER_POLICIES = (
    *("no-referrer", "no-referrer-when-downgrade", "origin", "origin-when-cross-origin"),
    *("same-origin", "strict-origin", "strict-origin-when-cross-origin", "unsafe-url"),
)
"""The values of Referrer-Policy."""
OPENER_POLICIES = (
    *("same-origin", "same-origin-allow-popups", "noopener-allow-popups", "unsafe-none"),
)
"""The values of Cross-Origin-Opener-Policy."""
RESOURCE_POLICIES = ("same-origin", "same-site", "cross-origin")
"""The values of Cross-Origin-Resource-Policy."""

_FRAME_ANCESTORS = {"deny": CSP.NONE, "sameorigin": CSP.SELF}
_MARK = "NONCE"
_POLICY = b"content-security-policy"
_REPORT_ONLY = b"content-security-policy-report-only"

# W3C Permissions Policy s.4: the names are keys of a dictionary (RFC 9651 s.3.2), with hyphens at most.
_FEATURE = re.compile(r"[a-z][a-z0-9-]*")
# RFC 6454 s.6.2, as far as it needs no escape in a string of RFC 9651 s.3.3.3. "*" stands for subdomains.
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.*:\[\]_-]+")

Field = tuple[bytes, bytes]


class SecurityHeadersMiddleware(Layer):
    """Add headers that make browsers protect the site.

    ``X-Content-Type-Options: nosniff`` is always set. A header that the endpoint sets wins. Error pages have
    the headers, too. None leaves a header out. A 304 response has no policy with ``CSP.NONCE``, because the
    browser keeps that of its copy.

    Args:
        app: the inner app.
        csp: the content security policy. ``CSP.NONCE`` in it allows scripts and styles with the attribute
            ``nonce="{{ csp_nonce }}"``; the header contains the nonce only if the response uses it.
        csp_report_only: a policy that the browser only reports about, to try it out.
        hsts_seconds: how long browsers must use HTTPS for this host (Strict-Transport-Security). 0, the
            default, leaves the header out, because you can't take it back. It is sent over TLS only.
        hsts_subdomains: whether that includes all subdomains.
        frame: whether pages may be shown in a frame: ``"deny"``, ``"sameorigin"``, or None to allow it.
            It sets X-Frame-Options, and ``frame-ancestors`` in policies without that directive.
        referrer: the Referrer-Policy.
        opener: the Cross-Origin-Opener-Policy. Use ``"same-origin-allow-popups"`` if a page opens a login
            window of another site.
        resource: the Cross-Origin-Resource-Policy. Use ``"cross-origin"`` for images that other sites show.
        permissions: features of the browser and the origins that may use them. ``{"camera": []}`` forbids
            the camera, ``{"geolocation": ["self", "https://maps.example"]}`` allows two.

    Raises:
        TypeError: a setting has the wrong type.
        ValueError: a setting has none of its possible values, or ``hsts_subdomains`` is set without
            ``hsts_seconds``.

    Example:
        ``Middleware(SecurityHeadersMiddleware, hsts_seconds=31_536_000)``
    """

    middleware_traits = (SECURITY_HEADERS,)

    def __init__(
        self,
        app: ASGIApp,
        *,
        csp: CSP | None = CSP.default(),  # noqa: B008  # it is immutable
        csp_report_only: CSP | None = None,
        hsts_seconds: int = 0,
        hsts_subdomains: bool = False,
        frame: Literal["deny", "sameorigin"] | None = "deny",
        referrer: str | None = "strict-origin-when-cross-origin",
        opener: str | None = "same-origin",
        resource: str | None = "same-origin",
        permissions: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__(app)
        _check_choice("frame", frame, tuple(_FRAME_ANCESTORS))
        _check_choice("referrer", referrer, REFERRER_POLICIES)
        _check_choice("opener", opener, OPENER_POLICIES)
        _check_choice("resource", resource, RESOURCE_POLICIES)
        self.csp, self.csp_report_only = csp, csp_report_only
        self.hsts_seconds = hsts_seconds
        self._policies = [
            _Policy(field, _complete(name, policy, frame))
            for name, field, policy in (
                ("csp", _POLICY, csp),
                ("csp_report_only", _REPORT_ONLY, csp_report_only),
            )
            if policy is not None
        ]
        values = {
            "x-content-type-options": "nosniff",
            "x-frame-options": frame and frame.upper(),
            "referrer-policy": referrer,
            "cross-origin-opener-policy": opener,
            "cross-origin-resource-policy": resource,
            "permissions-policy": _format_permissions(permissions),
        }
        self._fields: list[Field] = [
            *((policy.name, policy.without_nonce) for policy in self._policies),
            *((name.encode(), value.encode()) for name, value in values.items() if value),
        ]
        self._fields_tls = [*self._fields, *_format_hsts(hsts_seconds, hsts_subdomains)]
        self._names = frozenset(name for name, _ in self._fields_tls)
        self._nonce_names = frozenset(policy.name for policy in self._policies if policy.has_nonce)

    def respond(self, request: Request[Any]) -> Awaitable[Answer]:
        """Return, once awaited, the inner answer with the headers."""
        scope = request.scope
        if CSP_NONCE not in scope:
            scope[CSP_NONCE] = []
        return self._layer_edited(self._layer_inner.respond, request, self._add_headers)

    def _add_headers(self, request: Request[Any], start: EditableResponse) -> None:
        scope = request.scope
        # RFC 6797 s.7.2: Strict-Transport-Security over TLS only
        fields = self._fields_tls if scope.get("scheme") == "https" else self._fields
        if isinstance(start, Response):
            raw = start.raw_headers
            names = [name for name, _ in raw]
        else:
            raw = start.headers.raw
            names = [name.lower() for name, _ in raw]  # an app may have ignored ASGI here
        if not self._names.isdisjoint(names):
            fields = [field for field in fields if field[0] not in names]
        if start.status_code == 304:
            fields = self._without_nonces(fields)
        nonce: list[str] = scope[CSP_NONCE]
        if not nonce:
            nonce.append("")  # too late from now on
        elif nonce[0]:
            fields = self._with_nonce(fields, nonce[0])
        raw.extend(fields)

    def _without_nonces(self, fields: list[Field]) -> list[Field]:
        # RFC 9111 s.4.3.4: the fields replace those of the stored page, which has its own nonce.
        return [field for field in fields if field[0] not in self._nonce_names]

    def _with_nonce(self, fields: list[Field], nonce: str) -> list[Field]:
        values = {policy.name: policy.with_nonce(nonce) for policy in self._policies}
        return [(name, values.get(name, value)) for name, value in fields]


remember(SecurityHeadersMiddleware, "respond")


def has_nonce(scope: Scope) -> bool:
    """Return whether the response to this request contains a nonce, so no cache may store it."""
    nonce: list[str] | None = scope.get(CSP_NONCE)
    return bool(nonce and nonce[0])


class _Policy:
    """A policy as a header, with and without the nonce."""

    __slots__ = ("_parts", "has_nonce", "name", "without_nonce")

    def __init__(self, name: bytes, policy: CSP) -> None:
        self.name = name
        self.has_nonce = policy.has_nonce
        self.without_nonce = policy.serialize().encode()
        self._parts = policy.serialize(_MARK).split(f"'nonce-{_MARK}'")

    def with_nonce(self, nonce: str) -> bytes:
        """Return the value with ``nonce``, if the policy has a place for it."""
        return f"'nonce-{nonce}'".join(self._parts).encode()


def _complete(name: str, policy: CSP, frame: str | None) -> CSP:
    """Return the policy with ``frame-ancestors``, since browsers then ignore X-Frame-Options."""
    if not isinstance(policy, CSP):
        raise TypeError(
            f"SecurityHeadersMiddleware: {name} must be a CSP or None, not {policy!r:.80}. Write "
            "CSP(default_src=[CSP.SELF], ...)."
        )
    if frame is None or policy.frame_ancestors is not None:
        return policy
    return replace(policy, frame_ancestors=[_FRAME_ANCESTORS[frame]])


def _check_choice(name: str, value: str | None, choices: Sequence[str]) -> None:
    if value is not None and value not in choices:
        raise ValueError(
            f"SecurityHeadersMiddleware: {name} must be one of {', '.join(map(repr, choices))} or None, "
            f"not {value!r:.80}."
        )


def _format_hsts(seconds: int, subdomains: bool) -> list[Field]:
    place = "SecurityHeadersMiddleware: hsts_seconds"
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise TypeError(f"{place} must be a number of whole seconds, not {seconds!r:.80}.")
    if seconds < 0:
        raise ValueError(f"{place} must not be negative, but is {seconds}.")
    check_flag(subdomains, "SecurityHeadersMiddleware: hsts_subdomains")
    if subdomains and not seconds:
        raise ValueError(
            "SecurityHeadersMiddleware: hsts_subdomains has no effect without hsts_seconds. Set both, for "
            "example hsts_seconds=31_536_000 for a year."
        )
    if not seconds:
        return []
    value = f"max-age={seconds}" + ("; includeSubDomains" if subdomains else "")
    return [(b"strict-transport-security", value.encode())]


def _format_permissions(permissions: Mapping[str, Sequence[str]] | None) -> str:
    """Return the value of Permissions-Policy, a dictionary of structured fields (RFC 9651 s.3.2)."""
    place = "SecurityHeadersMiddleware: permissions"
    if permissions is None:
        return ""
    if not isinstance(permissions, Mapping):
        raise TypeError(
            f"{place} must be a mapping of features to origins, not {permissions!r:.80}."
        )
    members = []
    for feature, origins in permissions.items():
        if not isinstance(feature, str) or not _FEATURE.fullmatch(feature):
            raise ValueError(f"{place} has {feature!r:.80}, which is not the name of a feature.")
        check_strings(["*"] if origins == "*" else origins, f"{place}: {feature}")
        members.append(f"{feature}=({' '.join([_format_origin(place, each) for each in origins])})")
    return ", ".join(members)


def _format_origin(place: str, origin: str) -> str:
    if origin in ("self", "*", "src"):
        return origin
    if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
        raise ValueError(
            f"{place} has {origin!r:.80}: write 'self', '*', or an origin such as 'https://example.org'."
        )
    return f'"{origin}"'
