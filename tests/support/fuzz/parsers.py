"""Targets for the pure parsers: none of them raises but what it says, and what comes out is of use."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from fuzz.rubbish import HEADER_WORDS, as_text, cuts, noise, values_of, words
from fuzz.targets import demand, target
from spica import jsoncodec
from spica._http import conditional, cookies, disposition, fields, filenames, host, ranges, urls
from spica.convertors import CONVERTOR_TYPES
from spica.datastructures import URL, Headers, QueryParams
from spica.formparsers.charsets import decode_text, find_charset
from spica.middleware.gzip.rules import accepts_gzip
from spica.middleware.sessions.cookie import make_signer, unsign
from spica.routing.patterns import compile_path

any_field = st.sampled_from(sorted(HEADER_WORDS)).flatmap(values_of)


@target("fields", any_field)
def check_fields(value: bytes) -> None:
    """Lists, weights and parameters of any field."""
    text = as_text(value)
    demand(len(fields.split_list(text)) <= fields.MAX_LIST_ITEMS, "a list without an end")
    for name, weight in fields.parse_quality_list(text):
        demand(bool(name) and 0 <= weight <= 1, "a weight", name, weight)
    demand(len(fields.parse_parameters(text)) <= fields.MAX_PARAMETERS, "parameters without an end")
    media_type, parameters = fields.parse_media_type(text)
    demand(media_type == media_type.strip(" \t").lower(), "a media type", media_type)
    demand(all(name == name.lower() for name in parameters), "names of parameters", parameters)
    try:
        encoded = fields.encode_field_value(text)
    except ValueError:
        return
    demand(not set(b"\r\n\0") & set(encoded), "what may be sent", encoded)


@target("host", st.tuples(values_of(b"host"), values_of(b"host")))
def check_host(values: tuple[bytes, bytes]) -> None:
    """The Host field: what is taken can stand in a URL."""
    for value in values:
        parsed = host.parse_host(as_text(value))
        name = host.parse_host_name(as_text(value))
        demand(parsed is None or parsed[0] == name, "two opinions of a host", value, parsed, name)
        demand(parsed is None or 0 <= (parsed[1] or 0) < 65536, "a port", parsed)
    found = host.read_host([(b"host", value) for value in values])
    if found is not None:
        demand(values[0] == values[1], "one of two hosts", values)
        url = URL(f"http://{found}/path?query")
        demand(url.path == "/path" and url.query == "query", "a host that is more than one", found)
        demand(url.username is None and bool(url.hostname), "a host", found)


@target("cookies", values_of(b"cookie"))
def check_cookies(value: bytes) -> None:
    """The Cookie field, and cookies that go out and come in again."""
    for name, content in cookies.parse_cookies(as_text(value)).items():
        try:
            line = cookies.format_set_cookie(name, content)
            fields.encode_field_value(line)
        except ValueError:
            continue
        again = cookies.parse_cookies(line.partition(";")[0])
        demand(again == {name: content}, "a cookie that comes back otherwise", name, content, again)


dispositions = words(*HEADER_WORDS[b"content-disposition"], b"; ", b"name", b"=", b"%e2%82%ac")


@target("disposition", dispositions)
def check_disposition(value: bytes) -> None:
    """Content-Disposition of a part, and of a file that is sent under any name."""
    kind, parameters = disposition.parse_disposition(value)
    demand(kind == kind.lower(), "a type", kind)
    for name in [as_text(value), *parameters.values()]:
        line = disposition.format_disposition("attachment", name)
        fields.encode_field_value(line)
        again = disposition.parse_disposition(line)[1].get("filename")
        demand(again == name, "a file name that comes back otherwise", name, line, again)


@target("ranges", st.tuples(values_of(b"range"), st.integers(0, 20), st.integers(0, 300)))
def check_ranges(values: tuple[bytes, int, int]) -> None:
    """The Range field: ranges lie within the file, in order and apart, and are few."""
    value, size, limit = values
    try:
        planned = ranges.plan_ranges(as_text(value), size, limit)
    except (ranges.MalformedRangeHeader, ranges.RangeNotSatisfiable):
        return
    end = -1
    for start, stop in planned or ():
        demand(end < start < stop <= size, "a range", planned, size)
        end = stop
    demand(len(planned or ()) <= limit, "too many ranges", planned)


PRECONDITIONS = [
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "if-range",
]
conditions = st.fixed_dictionaries(
    {}, optional={name: values_of(name.encode()).map(as_text) for name in PRECONDITIONS}
)
ETAGS = ['"abc"', 'W/"abc"', "abc", None]
DATES = ["Thu, 01 Jan 1970 00:00:00 GMT", None]


@target("conditions", st.tuples(conditions, st.sampled_from(ETAGS), st.sampled_from(DATES)))
def check_conditions(values: tuple[dict[str, str], str | None, str | None]) -> None:
    """The fields If-...: an outcome for every combination; dates are read and written alike."""
    request, etag, date = values
    for method in ("GET", "HEAD", "PUT"):
        outcome = conditional.evaluate(method, request, etag, date)
        demand(isinstance(outcome, conditional.Outcome), "an outcome", outcome)
    conditional.allows_range(request.get("if-range"), etag, date)
    for text in request.values():
        seconds = conditional.parse_http_date(text)
        if seconds is not None:
            written = conditional.format_http_date(seconds)
            demand(conditional.parse_http_date(written) == seconds, "a date", text, written)


urls_of_all_kinds = words(b"a=b", b"&", b"http://", b"example.org", b"/a", b"?", b"#", b"%2e")


@target("urls", urls_of_all_kinds)
def check_urls(data: bytes) -> None:
    """Paths and queries as servers hand them on, and the URL that is made of them."""
    path = data.decode("utf-8", "surrogateescape")
    scope: dict[str, Any] = {
        "type": "http",
        "scheme": "http",
        "path": "/" + path,
        "query_string": data,
        "root_path": "",
        "server": ("example.org", 80),
        "headers": [(b"host", b"example.org")],
    }
    url = URL(scope=scope)
    demand(url.netloc == "example.org", "a URL that leads elsewhere", str(url))
    str(url).encode()
    fields.encode_field_value(urls.encode_leading_slashes(urls.encode_path("/a")))
    pairs = urls.parse_query(data)
    demand(urls.parse_query(urls.format_query(pairs)) == pairs, "a query", pairs)
    params = QueryParams(data)
    demand(params.multi_items() == pairs, "query parameters", params)
    demand(QueryParams(str(params)).multi_items() == pairs, "written query parameters", params)
    for separator in ("/", "\\"):
        names = filenames.split_path(path.replace("/", separator), is_windows=True)
        demand(names is None or ".." not in names, "a path that climbs", names)


# `{name}` beside `{name:path}` and texts between them: what a look-up could backtrack in.
PATTERNS = [
    "/{a}", "/{a:path}", "/{a:int}", "/{a:float}", "/{a:uuid}", "/{a}-{b}", "/{a}.{b}.{c}",
    "/{a}/{b:path}/c", "/{a:int}-{b:float}", "/x{a}y{b}z",
]  # fmt: skip
path_words = words(
    b"/", b"a", b"-", b".", b"x", b"y", b"z", b"c", b"00000000-0000-0000-0000-000000000000"
)


@target("paths", st.tuples(st.sampled_from(PATTERNS), path_words))
def check_paths(values: tuple[str, bytes]) -> None:
    """Path parameters: a value is refused or converted, and then leads back to its text."""
    pattern, path_bytes = values
    path = "/" + path_bytes.decode("utf-8", "surrogateescape")
    regex, _, convertors = compile_path(pattern)
    match = regex.match(path)
    for name, text in match.groupdict().items() if match else ():
        try:
            value = convertors[name].convert(text)
        except ValueError:
            continue
        try:
            again = convertors[name].to_string(value)
        except ValueError:  # an infinity, for which a path has no word
            continue
        demand(convertors[name].convert(again) == value, "a value", pattern, text, again)
    demand(set(CONVERTOR_TYPES) >= {"str", "path", "int", "float", "uuid"}, "convertors")


json_words = words(
    b"{", b"}", b"[", b"]", b'"a"', b":", b",", b"null", b"true", b"1", b"-", b"e", b'"\\ud800"', b'"\\u',
    b'{"a":[1,2.5,"x"]}', b"[[", b"]]", b"\\",
)  # fmt: skip
nested = st.builds(
    lambda opening, depth, closing: opening * depth + closing * depth,
    st.sampled_from([b"[", b'{"a":']),
    st.sampled_from([1, 255, 1000, 1024, 1025, 5000]),
    st.sampled_from([b"]", b"}", b""]),
)


@target("json", st.one_of(json_words, nested, st.binary()))
def check_json(data: bytes) -> None:
    """JSON of any kind: it is refused by its own error, or is what the standard library reads."""
    for source in (data, data.decode("utf-8", "replace")):
        try:
            value = jsoncodec.decode(source)
        except json.JSONDecodeError:
            continue
        try:
            expected = json.loads(source)
        except (ValueError, RecursionError) as error:
            demand(isinstance(error, RecursionError), "JSON for us alone", source, error)
            continue
        demand(value == expected or value != value, "another value", value, expected)
        try:
            encoded = jsoncodec.encode(value)
        except (ValueError, RecursionError):  # lone surrogates, infinities, depth
            continue
        demand(jsoncodec.decode(encoded) == value, "a value that comes back otherwise", encoded)


SIGNER = make_signer("a secret of the tests", None)
SIGNED = SIGNER.sign(b"e30=")
signed_words = words(SIGNED, SIGNED[:10], SIGNED[-10:], b".", b"e30=", b"YWJj", b"====", b"-", b"_")


@target("session-cookie", signed_words)
def check_session_cookie(value: bytes) -> None:
    """A session's cookie: only what we have signed is read."""
    data = unsign(SIGNER, as_text(value), 60)
    is_ours = value.strip(b'"') == SIGNED
    demand(not data or is_ours or SIGNED in value, "a session of somebody else's", value, data)


@target(
    "charsets",
    st.tuples(words(b"utf-8", b"latin-1", b"utf-16", b"idna", b"hex", b"-", b"_"), noise),
)
def check_charsets(values: tuple[bytes, bytes]) -> None:
    """Any charset that a client names: text comes out, and Python remembers few names."""
    charset = find_charset(as_text(values[0]))
    demand(isinstance(decode_text(values[1], charset), str), "text", charset)


@target("accept-encoding", st.lists(values_of(b"accept-encoding"), max_size=3))
def check_accept_encoding(values: list[bytes]) -> None:
    """Accept-Encoding: a plain yes or no."""
    answer = accepts_gzip([(b"accept-encoding", value) for value in values])
    demand(type(answer) is bool, "an answer", answer)


pairs = st.lists(st.tuples(st.sampled_from([b"a", b"cookie", b"host"]), any_field), max_size=4)


@target("headers", st.tuples(pairs, cuts))
def check_headers(values: tuple[list[tuple[bytes, bytes]], list[int]]) -> None:
    """The mapping of headers holds what came, in its order."""
    raw = values[0]
    headers = Headers(raw=raw)
    demand(headers.raw == raw, "other headers", headers.raw)
    for name, value in raw:
        demand(
            value.decode("latin-1") in headers.getlist(name.decode()), "a header is missing", name
        )
        demand(name.decode().upper() in headers, "a name in capitals", name)
    repr(headers)
