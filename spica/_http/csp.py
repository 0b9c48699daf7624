"""Content Security Policy: the directives of a policy, checked and serialized.

A policy tells the browser from where a page may load scripts, styles and other content. ``CSP`` refuses
values that would end a directive, and the common mistakes that make a policy useless.

Standards: W3C Content Security Policy Level 3 (s.2.2 policies, s.2.3.1 source lists, s.6 directives), W3C
Trusted Types s.4.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

Sources = Sequence[str]
"""Where content may come from: keywords such as ``CSP.SELF``, schemes (``data:``) and hosts."""

_NONCE_MARK = "'nonce'"

# Keywords that people write without their quotes. Unquoted, each of them is the name of a host.
_KEYWORDS = frozenset(
    {
        *("self", "none", "nonce", "unsafe-inline", "unsafe-eval", "wasm-unsafe-eval"),
        *("unsafe-hashes", "strict-dynamic", "report-sample", "inline-speculation-rules"),
        *("trusted-types-eval", "allow-duplicates", "script"),
    }
)
# Schemes that people write without their colon, which are names of hosts as well.
_SCHEMES = frozenset(
    {"data", "blob", "http", "https", "ws", "wss", "mediastream", "filesystem", "about"}
)
_UNQUOTED = re.compile(r"(?:nonce|sha256|sha384|sha512)-.+", re.IGNORECASE)
_FIXED_NONCE = re.compile(r"'nonce-.+'", re.IGNORECASE)
_QUOTED = re.compile(r"'[^']+'")
# CSP s.2.2.1: ";" ends a directive. RFC 9110 s.5.6.1: "," separates policies.
_FORBIDDEN = re.compile(r"[^!-+\--:<-~]")


@dataclass(frozen=True, slots=True, kw_only=True)
class CSP:
    """A content security policy. Each argument is a directive, with ``_`` instead of ``-``.

    >>> CSP(default_src=[CSP.SELF], img_src=[CSP.SELF, "data:"]).serialize()
    "default-src 'self'; img-src 'self' data:"

    Use ``dataclasses.replace(policy, img_src=[...])`` for a variant.

    Args:
        default_src: The sources for everything that has no directive of its own.
        script_src: The sources of scripts. ``CSP.NONCE`` allows scripts with ``nonce="{{ csp_nonce }}"``.
        style_src: The sources of styles.
        frame_ancestors: The pages that may show the page in a frame. ``SecurityHeadersMiddleware`` sets it
            from its parameter ``frame``.
        upgrade_insecure_requests: Whether the browser loads ``http:`` addresses over ``https:``.
        sandbox: The permissions of a sandbox, such as ``allow-forms``.
        report_uri, report_to: Where the browser reports violations: an address, and the name of an endpoint
            in the header ``Reporting-Endpoints``.
        base_uri: The addresses that ``<base>`` may name.
        form_action: The addresses that forms may be sent to.
        child_src, connect_src, font_src, frame_src, img_src, manifest_src, media_src, object_src,
            script_src_attr, script_src_elem, style_src_attr, style_src_elem, worker_src: The sources of one
            kind of content.
        require_trusted_types_for, trusted_types: Protection against scripts in strings (Trusted Types).

    Raises:
        TypeError: A directive is a single string, or has an item that is not a string.
        ValueError: A source has a character that would end it, such as ``;``, a space or a newline; a keyword
            has no quotes; a nonce is fixed; ``CSP.NONE`` is not alone.
    """

    SELF: ClassVar[str] = "'self'"
    NONE: ClassVar[str] = "'none'"
    NONCE: ClassVar[str] = _NONCE_MARK
    UNSAFE_INLINE: ClassVar[str] = "'unsafe-inline'"
    UNSAFE_EVAL: ClassVar[str] = "'unsafe-eval'"
    WASM_UNSAFE_EVAL: ClassVar[str] = "'wasm-unsafe-eval'"
    UNSAFE_HASHES: ClassVar[str] = "'unsafe-hashes'"
    STRICT_DYNAMIC: ClassVar[str] = "'strict-dynamic'"
    REPORT_SAMPLE: ClassVar[str] = "'report-sample'"
    INLINE_SPECULATION_RULES: ClassVar[str] = "'inline-speculation-rules'"

    default_src: Sources | None = None
    base_uri: Sources | None = None
    child_src: Sources | None = None
    connect_src: Sources | None = None
    font_src: Sources | None = None
    form_action: Sources | None = None
    frame_ancestors: Sources | None = None
    frame_src: Sources | None = None
    img_src: Sources | None = None
    manifest_src: Sources | None = None
    media_src: Sources | None = None
    object_src: Sources | None = None
    script_src: Sources | None = None
    script_src_attr: Sources | None = None
    script_src_elem: Sources | None = None
    style_src: Sources | None = None
    style_src_attr: Sources | None = None
    style_src_elem: Sources | None = None
    worker_src: Sources | None = None
    require_trusted_types_for: Sources | None = None
    trusted_types: Sources | None = None
    sandbox: Sources | None = None
    report_to: str | None = None
    report_uri: Sources | None = None
    upgrade_insecure_requests: bool = False

    def __post_init__(self) -> None:
        for name, value in self._directives():
            _check_sources(name, value)

    @classmethod
    def default(cls) -> CSP:
        """Return the default policy: content of the own origin, images in ``data:``, and nonces.

        Inline scripts and styles need the nonce. Plugins are forbidden.
        """
        return cls(
            default_src=[cls.SELF],
            base_uri=[cls.SELF],
            form_action=[cls.SELF],
            img_src=[cls.SELF, "data:"],
            object_src=[cls.NONE],
            script_src=[cls.SELF, cls.NONCE],
            style_src=[cls.SELF, cls.NONCE],
        )

    @staticmethod
    def hash(
        content: str | bytes, algorithm: Literal["sha256", "sha384", "sha512"] = "sha256"
    ) -> str:
        """Return the source that allows the inline script or style ``content``, all between its tags.

        Raises:
            ValueError: Browsers do not know the algorithm.
        """
        if algorithm not in ("sha256", "sha384", "sha512"):
            raise ValueError(
                f"CSP.hash: algorithm must be sha256, sha384 or sha512, not {algorithm!r}."
            )
        data = content.encode() if isinstance(content, str) else content
        digest = hashlib.new(algorithm, data).digest()
        return f"'{algorithm}-{base64.b64encode(digest).decode()}'"

    @property
    def has_nonce(self) -> bool:
        """Whether a directive has ``CSP.NONCE``."""
        return any(_NONCE_MARK in value for _, value in self._directives())

    def serialize(self, nonce: str | None = None) -> str:
        """Return the value of the header. Without ``nonce``, no source replaces ``CSP.NONCE``."""
        directives = []
        for name, value in self._directives():
            sources = [_with_nonce(source, nonce) for source in value]
            # CSP s.6.7.2: an empty list allows nothing, like 'none'.
            words = [source for source in sources if source] or (["'none'"] if value else [])
            directives.append(" ".join([name, *words]))
        return "; ".join(directives)

    def _directives(self) -> Iterator[tuple[str, Sources]]:
        """Yield the name and the values of each directive."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None or value is False:
                continue
            if field.name == "report_to":
                value = [value]
            yield field.name.replace("_", "-"), [] if value is True else value


def _with_nonce(source: str, nonce: str | None) -> str | None:
    if source != _NONCE_MARK:
        return source
    return None if nonce is None else f"'nonce-{nonce}'"


def _check_sources(name: str, sources: Sources) -> None:
    if isinstance(sources, (str, bytes)) or not isinstance(sources, Sequence):
        raise TypeError(f"CSP: {name} must be a list of strings, not {sources!r:.80}.")
    for source in sources:
        _check_source(name, source)
    if name == "sandbox" and any(not source.startswith("allow-") for source in sources):
        raise ValueError(
            f"CSP: sandbox has {list(sources)!r:.80}. Its permissions begin with 'allow-', for example "
            "'allow-forms'."
        )
    if "'none'" in sources and len(sources) > 1:
        raise ValueError(f"CSP: {name} has 'none' and other sources. Remove one or the other.")


def _check_source(name: str, source: str) -> None:
    if not isinstance(source, str):
        raise TypeError(f"CSP: {name} must be a list of strings, but has {source!r:.80}.")
    forbidden = _FORBIDDEN.search(source)
    if forbidden is not None or not source:
        reason = "is empty" if forbidden is None else f"has the character {forbidden[0]!r}"
        raise ValueError(
            f"CSP: {name} has {source!r:.80}, which {reason}. Write one source per item, without spaces, "
            "semicolons and commas; percent-encode them in addresses."
        )
    if "'" in source and not _QUOTED.fullmatch(source):
        raise ValueError(
            f"CSP: {name} has {source!r:.80}. A keyword, a hash or a nonce has a quote on both sides, and "
            "nothing else has quotes."
        )
    if name not in _WITHOUT_SOURCES:
        _check_host(name, source)
    if _FIXED_NONCE.fullmatch(source):
        raise ValueError(
            f"CSP: {name} has a fixed nonce, which every attacker can read. Write CSP.NONCE."
        )


_WITHOUT_SOURCES = frozenset({"report-to", "report-uri", "sandbox"})
"""The directives whose values are not sources: the name of an endpoint, addresses, permissions."""


def _check_host(name: str, source: str) -> None:
    """Refuse the name of a host that is surely something else, which would have no effect."""
    word = source.lower()
    if name == "trusted-types" and word not in ("none", "allow-duplicates"):
        return  # the name of a policy, which can be any word
    if word in _KEYWORDS:
        constant = word.upper().replace("-", "_")
        fix = f"CSP.{constant}" if hasattr(CSP, constant) else f"\"'{word}'\""
        raise ValueError(
            f"CSP: {name} has {source!r}, which is the name of a host. Write {fix} for the keyword."
        )
    if word in _SCHEMES:
        raise ValueError(
            f"CSP: {name} has {source!r}, which is the name of a host. Write '{word}:' for the scheme."
        )
    if _UNQUOTED.fullmatch(source):
        raise ValueError(
            f"CSP: {name} has {source!r:.80}, which is the name of a host. Write CSP.NONCE for a nonce, and "
            "CSP.hash(...) for a hash."
        )
