"""Cookies: any header is read, and what is written is what `http.cookies` writes."""

import copy
import datetime
import http.cookies
import pickle
import time
import warnings
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http.cookies import WatchedCookies, _format_date, format_set_cookie, parse_cookies
from spica.exceptions import SpicaConfigurationWarning

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("", {}),
        ("a=b", {"a": "b"}),
        ("a=b; c=d", {"a": "b", "c": "d"}),
        ("a=b;c=d", {"a": "b", "c": "d"}),
        ("a=b;  c=d", {"a": "b", "c": "d"}),
        (" a = b ;\tc=d\t", {"a": "b", "c": "d"}),
        ("a=", {"a": ""}),
        ("a=b=c", {"a": "b=c"}),
        ("a=b; a=c", {"a": "c"}),
        ("a", {"": "a"}),
        ("=a", {"": "a"}),
        ("a=b; flag", {"a": "b", "": "flag"}),
        ("=", {}),
        ("; ;", {}),
        ("a=b;", {"a": "b"}),
        ('a="b c"', {"a": "b c"}),
        ('a=""', {"a": ""}),
        ('a="', {"a": '"'}),
        ('a="b', {"a": '"b'}),
        ('a=b"', {"a": 'b"'}),
        (r'a="\"\\\054\303\400"', {"a": '"\\,\xc3400'}),
        ('a="x;y"', {"a": '"x', "": 'y"'}),
        ("a=x,b=y", {"a": "x,b=y"}),
        ("$Version=1; a=b", {"$Version": "1", "a": "b"}),
        ("é=ü", {"é": "ü"}),
        # The bytes of "à" in UTF-8, as latin-1: the last is a space to str.strip().
        ("a=\xc3\xa0; b=\xc3\xa0", {"a": "\xc3\xa0", "b": "\xc3\xa0"}),
    ],
)
def test_a_cookie_header_is_parsed(header: str, cookies: dict[str, str]) -> None:
    assert parse_cookies(header) == cookies


@given(st.text(alphabet='a=; \t"\\01é'))
def test_any_header_is_parsed_the_same_with_or_without_the_quick_way(header: str) -> None:
    # A blank before the end of the header changes nothing but the way it takes.
    assert parse_cookies(header) == parse_cookies(header + "; \t")


@given(
    st.dictionaries(
        st.text(alphabet="abc-_!", min_size=1),
        st.text(alphabet=st.characters(max_codepoint=255)),
        min_size=1,
    )
)
def test_what_was_set_comes_back(values: dict[str, str]) -> None:
    pairs = [
        format_set_cookie(name, value, path=None, samesite=None) for name, value in values.items()
    ]

    assert parse_cookies("; ".join(pairs)) == values


@pytest.mark.parametrize("piece", ["a=b; ", '"\\', ";", "=", 'a="\\0', "; a"])
def test_the_cost_is_linear(piece: str) -> None:
    parse_cookies(piece * 200_000)  # quadratic cost would not end here


def from_standard_library(key: str, value: str, **attributes: Any) -> str:
    cookie: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
    cookie[key] = value
    for name, attribute in attributes.items():
        cookie[key][name.replace("_", "-")] = attribute
    return cookie.output(header="").strip()


@pytest.mark.parametrize(
    "value",
    [
        "",
        "plain",
        "b c",
        'say "x"',
        "back\\slash",
        "a;b,c",
        "é",
        "".join(map(chr, range(128, 256))),
        "!#$%&'*+-.^_`|~:()/<>?@[]{}=",
    ],
)
def test_a_value_is_written_as_the_standard_library_does(value: str) -> None:
    expected = from_standard_library("a", value)

    assert format_set_cookie("a", value, path=None, samesite=None) == expected


def test_control_characters_of_a_value_are_escaped() -> None:
    written = format_set_cookie("a", "\0\r\n\x7f", path=None, samesite=None)

    assert written == r'a="\000\015\012\177"'


def test_the_attributes_are_written_as_the_standard_library_does() -> None:
    expected = from_standard_library(
        "a",
        "b",
        domain="example.org",
        expires="Wed, 01 Jan 2020 00:00:00 GMT",
        httponly=True,
        max_age=10,
        path="/x",
        samesite="strict",
        secure=True,
    )

    written = format_set_cookie(
        "a",
        "b",
        max_age=10,
        expires=datetime.datetime(2020, 1, 1, tzinfo=UTC),
        path="/x",
        domain="example.org",
        secure=True,
        httponly=True,
        samesite="strict",
    )

    assert written == expected


def test_the_defaults_are_those_of_a_session_cookie() -> None:
    assert format_set_cookie("a", "b") == "a=b; Path=/; SameSite=lax"


@pytest.mark.parametrize(
    ("settings", "written"),
    [
        ({"max_age": 0}, "Max-Age=0"),
        ({"max_age": -1}, "Max-Age=-1"),
        ({"max_age": "5"}, "Max-Age=5"),
        ({"max_age": 1.5}, "Max-Age=1"),
        ({"expires": "Wed, 01 Jan 2020"}, "expires=Wed, 01 Jan 2020"),
        (
            {
                "expires": datetime.datetime(
                    2020, 1, 1, 2, tzinfo=datetime.timezone(datetime.timedelta(hours=2))
                )
            },
            "expires=Wed, 01 Jan 2020 00:00:00 GMT",
        ),
        ({"samesite": "None", "secure": True}, "SameSite=None"),
        ({"partitioned": True, "secure": True}, "Partitioned"),
        ({"path": "/a b"}, "Path=/a b"),
    ],
)
def test_an_attribute_is_written(settings: dict[str, Any], written: str) -> None:
    assert written in format_set_cookie("a", "b", **settings).split("; ")


@pytest.mark.parametrize(
    "settings",
    [{"path": None}, {"path": ""}, {"domain": ""}, {"expires": ""}, {"samesite": None}],
    ids=str,
)
def test_an_empty_attribute_is_left_out(settings: dict[str, Any]) -> None:
    written = format_set_cookie("a", "b", **{"path": None, "samesite": None, **settings})

    assert written == "a=b"


def test_partitioned_stands_between_its_neighbours() -> None:
    written = format_set_cookie("a", "b", max_age=1, secure=True, partitioned=True)

    assert written == "a=b; Max-Age=1; Partitioned; Path=/; SameSite=lax; Secure"


def test_seconds_until_expiry_are_counted_from_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1577836800.0)

    written = format_set_cookie("a", "b", expires=61, path=None, samesite=None)

    assert written == "a=b; expires=Wed, 01 Jan 2020 00:01:01 GMT"


def test_a_value_that_is_a_number_is_written() -> None:
    number: Any = 5
    assert format_set_cookie("a", number, path=None, samesite=None) == "a=5"


@pytest.mark.parametrize("name", ["", "a b", "a=", "a;", "a,b", "é", "a\n", 'a"', "[a]"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    # RFC 6265 s.4.1.1
    with pytest.raises(ValueError, match="is not a valid cookie name: use letters, digits"):
        format_set_cookie(name, "x")


@pytest.mark.parametrize("attribute", ["path", "domain", "expires"])
@pytest.mark.parametrize("value", ["/;Secure", "/\r\n", "/\0", "/\x7f"], ids=repr)
def test_an_attribute_cannot_break_out(attribute: str, value: str) -> None:
    with pytest.raises(
        ValueError, match=f"The {attribute} of a cookie is .*: it must not contain ';'"
    ):
        format_set_cookie("a", "b", **{attribute: value})  # type: ignore[arg-type]  # the table


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"domain": "é.org"}, ValueError, "The domain of a cookie is 'é.org': it must be ASCII"),
        ({"samesite": "foo"}, ValueError, "samesite must be either 'strict', 'lax' or 'none'"),
        ({"expires": datetime.datetime(2020, 1, 1)}, ValueError, "which has no time zone"),
        ({"expires": 10**12}, ValueError, "must be a date in the years 1601 to 9999"),
        ({"expires": float("nan")}, ValueError, "must be a date in the years 1601 to 9999"),
        ({"expires": b"x"}, TypeError, "must be a datetime, a str, or an int"),
        ({"value": b"x"}, TypeError, "must be a str, not bytes"),
        ({"value": None}, TypeError, r"must be a str, not None: see delete_cookie\(\)"),
        ({"value": "secret€"}, ValueError, "has a character outside latin-1"),
    ],
)
def test_what_could_not_be_sent_is_refused(
    settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        format_set_cookie("a", **settings)

    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("seconds", "date"),
    [
        (-11_644_473_600, "Mon, 01 Jan 1601 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        (-11_644_473_601, None),
        (253_402_300_800, None),
    ],
)
def test_a_date_has_a_year_from_1601_to_9999(seconds: int, date: str | None) -> None:
    """draft-ietf-httpbis-rfc6265bis s.5.1.1: earlier years are no dates, and later ones have five digits."""
    if date is not None:
        assert _format_date(seconds) == date
    else:
        with pytest.raises(ValueError, match=f"is {seconds} seconds since 1970: it must be a date"):
            _format_date(seconds)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samesite": "none"}, "Browsers ignore the cookie 'a': SameSite=None needs secure=True"),
        ({"partitioned": True}, "partitioned=True needs secure=True"),
        ({"key": "__Secure-a"}, "its name needs secure=True"),
        ({"key": "__Host-a", "secure": True, "path": "/x"}, "needs path='/' and no domain"),
        ({"key": "__host-a", "secure": True, "domain": "x.org"}, "needs path='/' and no domain"),
        ({"value": "x" * 4096}, "'a': its name and value have more than 4096 bytes"),
        ({"domain": "https://x.org"}, "'a': its domain 'https://x.org' is not a host name"),
        ({"domain": "x.org:8000"}, "its domain 'x.org:8000' is not a host name"),
    ],
)
def test_a_cookie_that_browsers_drop_is_warned_of(settings: dict[str, Any], message: str) -> None:
    with pytest.warns(SpicaConfigurationWarning, match=message):
        format_set_cookie(**{"key": "a", "value": "b", **settings})


@pytest.mark.parametrize(
    "settings",
    [
        {"key": "__Host-a", "secure": True},
        {"key": "__Secure-a", "secure": True, "path": "/x"},
        {"value": "x" * 4095},
        {"domain": ".example.org"},
    ],
    ids=lambda settings: str(settings)[:60],
)
def test_a_prefix_that_is_kept_is_not_warned_of(settings: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        format_set_cookie(**{"key": "a", "value": "b", **settings})


def test_a_max_age_that_is_not_a_number_names_the_seconds() -> None:
    age: Any = datetime.timedelta(days=1)
    with pytest.raises(
        TypeError, match=r"must be a number of seconds, not .*Write 86400, or int\("
    ):
        format_set_cookie("a", "b", max_age=age)


@pytest.mark.parametrize("value", [{"a": 1}, [1], (1,), {1}])
def test_a_collection_is_not_the_value_of_a_cookie(value: Any) -> None:
    with pytest.raises(TypeError, match=r"must be a str, not .*json\.dumps"):
        format_set_cookie("a", value)


def test_the_cookies_of_a_request_are_read_and_copied_as_those_of_a_dict() -> None:
    cookies = WatchedCookies(a="1")
    copies: list[dict[str, str]] = [
        copy.copy(cookies),
        copy.deepcopy(cookies),
        pickle.loads(pickle.dumps(cookies)),
        cookies.copy(),
        cookies | {},
        {**cookies},
    ]
    assert cookies == {"a": "1"}
    assert cookies.setdefault("a", "2") == "1"
    assert [(type(each), each) for each in copies] == [(dict, {"a": "1"})] * len(copies)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        (lambda cookies: cookies.__setitem__("b", "2"), {"a": "1", "b": "2"}),
        (lambda cookies: cookies.update(b="2"), {"a": "1", "b": "2"}),
        (lambda cookies: cookies.setdefault("b", "2"), {"a": "1", "b": "2"}),
        (lambda cookies: cookies.__delitem__("a"), {}),
        (lambda cookies: cookies.pop("a"), {}),
        (lambda cookies: cookies.pop("b", None), {"a": "1"}),
        (lambda cookies: cookies.popitem(), {}),
        (lambda cookies: cookies.clear(), {}),
    ],
)
def test_a_change_of_the_cookies_of_a_request_warns(change: Any, left: dict[str, str]) -> None:
    cookies = WatchedCookies(a="1")
    with pytest.warns(SpicaConfigurationWarning, match="does not reach the browser.*set_cookie"):
        change(cookies)
    assert cookies == left
