"""Tests of spica/_http/csp.py."""

import base64
import hashlib
import re
from dataclasses import replace

import pytest

from spica._http.csp import CSP


def test_directives_have_hyphens_and_a_fixed_order():
    policy = CSP(img_src=["data:", CSP.SELF], default_src=[CSP.SELF], script_src_elem=["https:"])
    assert policy.serialize() == (
        "default-src 'self'; img-src data: 'self'; script-src-elem https:"
    )


def test_directives_without_sources():
    policy = CSP(upgrade_insecure_requests=True, sandbox=[], report_to="csp", img_src=[])
    assert policy.serialize() == ("img-src; sandbox; report-to csp; upgrade-insecure-requests")


def test_the_nonce_replaces_its_mark():
    policy = CSP(script_src=[CSP.NONCE, CSP.STRICT_DYNAMIC], style_src=[CSP.SELF, CSP.NONCE])
    assert policy.has_nonce
    assert policy.serialize("abc") == (
        "script-src 'nonce-abc' 'strict-dynamic'; style-src 'self' 'nonce-abc'"
    )
    assert policy.serialize() == "script-src 'strict-dynamic'; style-src 'self'"


def test_a_directive_with_only_an_unused_nonce_allows_nothing():
    assert CSP(script_src=[CSP.NONCE]).serialize() == "script-src 'none'"


def test_the_default_policy_forbids_inline_scripts_without_nonce():
    assert CSP.default().serialize() == (
        "default-src 'self'; base-uri 'self'; form-action 'self'; img-src 'self' data:; "
        "object-src 'none'; script-src 'self'; style-src 'self'"
    )


def test_a_hash_allows_one_script():
    digest = base64.b64encode(hashlib.sha384(b"alert(1)").digest()).decode()
    assert CSP.hash("alert(1)", "sha384") == f"'sha384-{digest}'"
    assert CSP(script_src=[CSP.hash(b"x")]).serialize().startswith("script-src 'sha256-")
    with pytest.raises(ValueError, match="must be sha256, sha384 or sha512, not 'md5'"):
        CSP.hash("x", "md5")


def test_a_policy_can_be_varied():
    policy = replace(CSP.default(), img_src=None, object_src=None, base_uri=None, form_action=None)
    assert policy.serialize() == "default-src 'self'; script-src 'self'; style-src 'self'"


@pytest.mark.parametrize(
    "source",
    [
        "https://a.example; script-src *",
        "https://a.example\nscript-src *",
        "https://a.example\r\nset-cookie: a=b",
        "https://a.example https://b.example",
        "https://a.example,https://b.example",
        "https://a.example/\x00",
        "https://bücher.example",
        " 'self'",
        "",
    ],
)
def test_a_source_can_not_end_its_directive(source):
    for directive in ("script_src", "report_uri", "sandbox", "trusted_types"):
        with pytest.raises(ValueError, match="CSP: "):
            CSP(**{directive: [source]})
    with pytest.raises(ValueError, match="report-to has"):
        CSP(report_to=source)


@pytest.mark.parametrize(
    ("sources", "error", "message"),
    [
        ("'self'", TypeError, "img-src must be a list of strings, not"),
        ([1], TypeError, "but has 1"),
        ({CSP.SELF}, TypeError, "must be a list"),  # a set has no order
        (["self"], ValueError, "which is the name of a host. Write CSP.SELF for the keyword"),
        (["unsafe-inline"], ValueError, "Write CSP.UNSAFE_INLINE"),
        (["'nonce-abc'"], ValueError, "has a fixed nonce"),
        (["'self"], ValueError, "has a quote on both sides"),
        (["'self'https:"], ValueError, "has a quote on both sides"),
        (["'none'", "'self'"], ValueError, "has 'none' and other sources"),
    ],
)
def test_useless_sources_are_refused(sources, error, message):
    with pytest.raises(error, match=message):
        CSP(img_src=sources)


@pytest.mark.parametrize(
    ("directive", "source", "fix"),
    [
        ("script_src", "inline-speculation-rules", "CSP.INLINE_SPECULATION_RULES"),
        ("script_src", "trusted-types-eval", "\"'trusted-types-eval'\""),
        ("require_trusted_types_for", "script", "\"'script'\""),
        ("trusted_types", "allow-duplicates", "\"'allow-duplicates'\""),
        ("img_src", "data", "'data:'"),
        ("connect_src", "WSS", "'wss:'"),
        ("script_src", "sha256-abc=", "CSP.hash"),
        ("script_src", "nonce-abc", "CSP.NONCE"),
        ("sandbox", "scripts", "'allow-forms'"),
    ],
)
def test_a_source_without_effect_is_refused_with_the_fix(directive, source, fix):
    with pytest.raises(ValueError, match=re.escape(fix)):
        CSP(**{directive: [source]})


def test_constants_and_names_of_policies_are_accepted():
    policy = CSP(
        script_src=[CSP.INLINE_SPECULATION_RULES, "'trusted-types-eval'"],
        trusted_types=["script", "data", "'allow-duplicates'"],
        report_uri=["/data"],
        report_to="https",
    )
    assert policy.serialize() == (
        "script-src 'inline-speculation-rules' 'trusted-types-eval'; "
        "trusted-types script data 'allow-duplicates'; report-to https; report-uri /data"
    )


def test_an_unknown_directive_is_refused():
    with pytest.raises(TypeError, match="image_src"):
        CSP(image_src=["'self'"])
