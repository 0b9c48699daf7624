"""Check middleware: wrong settings, a wrong order, and settings that are too open."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from spica._diagnostics.call_site import Place
from spica._diagnostics.middleware_order import (
    AUTHENTICATES,
    READS_PROXY,
    SESSION,
    find_order_problems,
    traits_of,
)
from spica._diagnostics.users import WITHOUT_USERS, authenticates, may_authenticate
from spica.applications import Spica
from spica.checks.finding import Finding, error, info, warning
from spica.checks.loading import configuration_warnings
from spica.checks.settings import check_limit_layers
from spica.checks.walk import applications_of, layers_of, routes_of
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.compression import CompressionMiddleware, DecompressionMiddleware
from spica.middleware.cors import CORSMiddleware
from spica.middleware.crossorigin import SAFE_METHODS, CrossOriginMiddleware
from spica.middleware.securityheaders import CSP, SecurityHeadersMiddleware
from spica.middleware.sessions import SessionMiddleware
from spica.middleware.trustedhost import TrustedHostMiddleware

GOOD_SECRET_SIZE = 32
"""The recommended size of a session secret, in bytes: the size of the hash (RFC 2104 s.3)."""
SHORTEST_SECRET_SIZE = 16
"""The size in bytes below which an attacker can find a secret by trying all values."""
LONGEST_PREFLIGHT_AGE = 86400
"""The longest time in seconds that a browser caches a preflight (Firefox; Chromium: 7200)."""


def check_middleware(application: Any) -> Iterator[Finding]:
    """Yield the findings for the middleware of the application and of mounted applications."""
    for app in applications_of(application):
        if isinstance(app, Spica):
            yield from _check_stack(app)
    yield from _find_limits_by_address(application)
    yield from _find_scopes_without_users(application)


def _find_scopes_without_users(application: Any) -> Iterator[Finding]:
    """Yield a finding for ``default_scopes`` in an application where nothing identifies the users."""
    apps = [app for app in applications_of(application) if isinstance(app, Spica)]
    for app in apps:
        if app.default_scopes is None:
            continue
        recipes, make = app.user_middleware, error
        if app is not application:
            # A mounted application may use the layers of the applications and mounts around it.
            recipes, make = [each for outer in apps for each in outer.user_middleware], warning
            if _has_authenticating_mount(application):
                continue
        if not authenticates(recipes):
            make = warning if may_authenticate(recipes) else make
            yield make("default-scopes", f"{type(app).__name__}: {WITHOUT_USERS}")


def _has_authenticating_mount(application: Any) -> bool:
    routes: list[Any] = [entry.route for entry in routes_of(application)]
    layers = [layer for route in routes for layer in layers_of(getattr(route, "app", None))]
    return any(AUTHENTICATES in traits_of(type(layer)) for layer in layers)


def _find_limits_by_address(application: Any) -> Iterator[Finding]:
    """Yield a finding if clients are told apart by an address that may be that of a proxy."""
    # Without this import, the application has no such limit.
    ratelimit = sys.modules.get("spica.middleware.ratelimit")
    if ratelimit is None or any(
        READS_PROXY in traits_of(recipe.cls)
        for recipe in getattr(application, "user_middleware", ())
    ):
        return
    for limits, place in _limits_of(application):
        names = [limit.name for limit in limits if getattr(limit, "key", 0) is ratelimit.by_client]
        if names:
            yield info(
                "limit-by-address",
                f"RateLimitMiddleware limits clients by their address ({', '.join(names)}), without "
                "ProxyHeadersMiddleware. Behind a proxy, all clients have the address of the proxy and share "
                "one limit. Add Middleware(ProxyHeadersMiddleware, trusted=[...]) as the first middleware.",
                place,
            )


def _limits_of(application: Any) -> Iterator[tuple[Sequence[Any], Place | str | None]]:
    """Yield the limits of each RateLimitMiddleware of applications, routers and routes."""
    for app in applications_of(application):
        for recipe in getattr(app, "user_middleware", ()):
            if getattr(recipe.cls, "__name__", "") == "RateLimitMiddleware":
                limits = (*recipe.args, *recipe.kwargs.get("messages", ()))
                yield limits, getattr(recipe, "_place", None)
    for entry in routes_of(application):
        route: Any = entry.route
        for layer in layers_of(getattr(route, "app", None), getattr(route, "endpoint", None)):
            if type(layer).__name__ == "RateLimitMiddleware":
                yield (*layer.limits, *layer.messages), entry.place


def _check_stack(app: Spica) -> Iterator[Finding]:
    recipes = app.user_middleware
    for problem in find_order_problems(recipes):
        make = error if problem.is_error else warning
        yield make("middleware-order", problem.text, problem.place)
    yield from _find_early_authentication(recipes)
    with configuration_warnings() as caught:
        try:
            stack = app.build_middleware_stack()
        except Exception as exc:
            if not any(problem.is_error for problem in find_order_problems(recipes)):
                yield _explain_failure(exc)
            stack = None
    yield from findings_of_warnings(caught)
    layers = list(layers_of(stack, app.router))
    yield from _find_untrusted_origins(layers, recipes)
    for layer in layers:
        place = _place_of_layer(layer, recipes)
        for cls, check in _CHECKS.items():
            if isinstance(layer, cls):
                yield from check(layer, place)
        if place is not None:
            yield from check_limit_layers([layer], type(layer).__name__, str(place))


def findings_of_warnings(caught: list[warnings.WarningMessage]) -> Iterator[Finding]:
    """Yield a finding for each configuration warning. Warnings about the order get a code of their own."""
    for message in caught:
        text = str(message.message)
        if issubclass(message.category, SpicaConfigurationWarning):
            is_order = " is inside " in text or "does not belong in a list" in text
            code = "middleware-order" if is_order else "configuration"
            yield warning(code, text, f"{message.filename}:{message.lineno}")


def _explain_failure(exc: Exception) -> Finding:
    """Return a finding for a stack that can't be built. A note of ``exc`` locates the middleware."""
    place = ""
    for note in getattr(exc, "__notes__", ()):
        _, found, written_at = note.rpartition(", written at ")
        if found:
            place = written_at.removesuffix(".")
    code = "missing-extra" if isinstance(exc, ImportError) else "middleware"
    return error(code, f"The application can't start: {type(exc).__name__}: {exc}", place)


def _place_of_layer(layer: Any, recipes: list[Any]) -> Place | None:
    for recipe in recipes:
        if recipe.cls is type(layer):
            place: Place | None = getattr(recipe, "_place", None)
            return place
    return None


def _find_early_authentication(recipes: list[Any]) -> Iterator[Finding]:
    early = None
    for recipe in recipes:
        if isinstance(recipe.cls, type) and issubclass(recipe.cls, AuthenticationMiddleware):
            early = recipe
        elif early is not None and SESSION in traits_of(recipe.cls):
            yield info(
                "middleware-order",
                "AuthenticationMiddleware is outside SessionMiddleware, so its backend can't use "
                "request.session. Put it after SessionMiddleware in the list.",
                getattr(early, "_place", None),
            )


def _find_untrusted_origins(layers: list[Any], recipes: list[Any]) -> Iterator[Finding]:
    """Find origins that CORS allows to send requests and the cross-origin check refuses."""
    guards = [layer for layer in layers if isinstance(layer, CrossOriginMiddleware)]
    for cors in (layer for layer in layers if isinstance(layer, CORSMiddleware)):
        if SAFE_METHODS.issuperset(cors.allow_methods):
            continue
        for guard in guards:
            refused = sorted(set(cors.allow_origins) - {"*", *guard.trusted_origins})
            if refused:
                yield warning(
                    "cross-origin",
                    f"CORSMiddleware lets {refused[0]} send requests, which CrossOriginMiddleware refuses. "
                    "Add the origin to trusted_origins, or remove it from allow_origins.",
                    _place_of_layer(guard, recipes),
                )


def _check_encodings(
    layer: CompressionMiddleware | DecompressionMiddleware, place: Place | None
) -> Iterator[Finding]:
    if layer.missing_encodings:
        names = " and ".join(layer.missing_encodings)
        yield warning(
            "missing-encoding",
            f"{type(layer).__name__} goes without {names}, whose package is not installed. Install it "
            "(pip install 'spica[compression]'), or list the other encodings in encodings.",
            place,
        )


def _check_security_headers(
    layer: SecurityHeadersMiddleware, place: Place | None
) -> Iterator[Finding]:
    if not layer.hsts_seconds:
        yield info(
            "hsts-off",
            "SecurityHeadersMiddleware sends no Strict-Transport-Security. If the site is only served over "
            "HTTPS, set hsts_seconds, for example to 31_536_000, a year.",
            place,
        )
    policy = layer.csp
    scripts = policy and (policy.script_src or policy.default_src or ())
    has_exception = scripts and any(word.startswith(("'nonce", "'sha")) for word in scripts)
    if scripts and CSP.UNSAFE_INLINE in scripts and not has_exception:
        yield warning(
            "csp-unsafe",
            "SecurityHeadersMiddleware: the policy allows inline scripts, so it does not stop injected ones. "
            'Replace CSP.UNSAFE_INLINE by CSP.NONCE, and write nonce="{{ csp_nonce }}" in your scripts.',
            place,
        )


def _check_cors(layer: CORSMiddleware, place: Place | None) -> Iterator[Finding]:
    pattern = layer.allow_origin_regex
    is_open = layer.allow_all_origins or (
        pattern is not None and pattern.fullmatch("https://stranger.invalid") is not None
    )
    if is_open and layer.allow_credentials:
        yield warning(
            "cors-open",
            "CORSMiddleware allows all origins together with credentials, so every page on the web can "
            "act as its visitor. List the origins in allow_origins.",
            place,
        )
    if layer.max_age is not None and layer.max_age > LONGEST_PREFLIGHT_AGE:
        yield info(
            "cors-max-age",
            f"CORSMiddleware(max_age={layer.max_age}): browsers cache a preflight for at most "
            f"{LONGEST_PREFLIGHT_AGE} seconds (Chromium: 7200).",
            place,
        )


def _check_session(layer: SessionMiddleware, place: Place | None) -> Iterator[Finding]:
    shortest = min(len(key) for key in layer.signer.secret_keys)
    if shortest < GOOD_SECRET_SIZE:
        make = error if shortest < SHORTEST_SECRET_SIZE else warning
        yield make(
            "short-secret",
            f"SessionMiddleware: a secret_key has {shortest} bytes. An attacker who guesses it can forge "
            "sessions. Use 32 random bytes, for example from secrets.token_hex(32), and store them.",
            place,
        )
    if "secure" not in layer.security_flags.split("; "):
        yield info(
            "insecure-cookie",
            "SessionMiddleware also sends its cookie without TLS. Set https_only=True in production.",
            place,
        )
    if layer.on_unavailable == "empty":
        yield warning(
            "sessions-optional",
            "SessionMiddleware(on_unavailable='empty') shows users as logged out while the store is down, so "
            "they lose what they write. Use the default, 'refuse', unless no page depends on the session.",
            place,
        )


def _check_hosts(layer: TrustedHostMiddleware, place: Place | None) -> Iterator[Finding]:
    if layer.allow_any:
        yield info(
            "any-host",
            "TrustedHostMiddleware accepts every host. List your hosts in allowed_hosts in production.",
            place,
        )


_CHECKS: dict[type, Callable[[Any, Place | None], Iterator[Finding]]] = {
    CORSMiddleware: _check_cors,
    CompressionMiddleware: _check_encodings,
    DecompressionMiddleware: _check_encodings,
    SecurityHeadersMiddleware: _check_security_headers,
    SessionMiddleware: _check_session,
    TrustedHostMiddleware: _check_hosts,
}
