"""From path patterns to matches and back."""

import re
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica.convertors import CONVERTOR_TYPES, Convertor
from spica.routing import compile_path, replace_params
from spica.routing.linear import LinearPattern, make_linear
from spica.routing.patterns import PARAM_REGEX, check_path, encode_path, find_slow_param

MATCHING = {
    "static": ("/a/b", "/a/b", {}),
    "text": ("/u/{name}", "/u/x.y-z", {"name": "x.y-z"}),
    "number": ("/u/{id:int}", "/u/007", {"id": "007"}),
    "rest": ("/f/{p:path}", "/f/a/b/", {"p": "a/b/"}),
    "empty rest": ("/f/{p:path}", "/f/", {"p": ""}),
    "two in a segment": ("/{a}.{b}", "/x.y.z", {"a": "x.y", "b": "z"}),
    "between texts": ("/v{major:int}-x", "/v2-x", {"major": "2"}),
    "special characters": ("/a.b+c(d)", "/a.b+c(d)", {}),
    "braces that are no parameter": ("/{a b}/{", "/{a b}/{", {}),
    "after the rest": ("/{p:path}/end", "/a/b/end", {"p": "a/b"}),
    "two rests": ("/{p:path}/x/{q:path}/y", "/1/x/2/x/3/y", {"p": "1/x/2", "q": "3"}),
    "two rests that meet": ("/{p:path}/x/{q:path}/y", "/1/x/2/x/y", {"p": "1", "q": "2/x"}),
    "two rests and more": (
        "/{p:path}/{n:int}/{q:path}/{a}-{b}",
        "/1/2/3/4-5",
        {"p": "1", "n": "2", "q": "3", "a": "4", "b": "5"},
    ),
}
NOT_MATCHING = {
    "other text": ("/a", "/b"),
    "more behind": ("/a", "/a/"),
    "a line feed behind": ("/a", "/a\n"),
    "a line feed behind a parameter": ("/{id:int}", "/1\n"),
    "no text": ("/u/{name}", "/u/"),
    "two segments": ("/u/{name}", "/u/a/b"),
    "no digits": ("/{id:int}", "/x"),
    "digits of another script": ("/{id:int}", "/٣"),
    "a dot is a dot": ("/a.b", "/axb"),
    "case": ("/a", "/A"),
    "two rests without the end": ("/{p:path}/x/{q:path}/y", "/1/x/2/x/3"),
    "two rests without the middle": ("/{p:path}/x/{q:path}/y", "/1/2/y"),
}


@pytest.mark.parametrize(
    ("pattern", "path", "params"), MATCHING.values(), ids=list(MATCHING.keys())
)
def test_a_path_matches(pattern: str, path: str, params: dict[str, str]) -> None:
    found = compile_path(pattern)[0].match(path)
    assert found is not None
    assert found.groupdict() == params


@pytest.mark.parametrize(("pattern", "path"), NOT_MATCHING.values(), ids=list(NOT_MATCHING.keys()))
def test_a_path_does_not_match(pattern: str, path: str) -> None:
    assert compile_path(pattern)[0].match(path) is None


def test_format_and_convertors() -> None:
    _, path_format, convertors = compile_path("/u/{id:int}/{rest:path}")
    assert path_format == "/u/{id}/{rest}"
    assert convertors == {"id": CONVERTOR_TYPES["int"], "rest": CONVERTOR_TYPES["path"]}


class TestHosts:
    """RFC 9110 s.4.2.3: the host is case-insensitive; the port is not part of it."""

    @pytest.mark.parametrize("host", ["api.example.org", "API.Example.ORG"])
    def test_a_host_matches_in_any_case(self, host: str) -> None:
        assert compile_path("api.example.org")[0].match(host)

    def test_a_port_in_the_pattern_is_ignored(self) -> None:
        regex, host_format, _ = compile_path("example.org:8000")
        assert regex.match("example.org")
        assert host_format == "example.org:8000"

    def test_parameters(self) -> None:
        found = compile_path("{tenant}.example.org")[0].match("a.example.org")
        assert found is not None
        assert found["tenant"] == "a"


class TestErrors:
    def test_a_repeated_parameter(self) -> None:
        message = r"Duplicated param name id at path /\{id\}/\{id\}"
        with pytest.raises(ValueError, match=message):
            compile_path("/{id}/{id}")

    def test_several_repeated_parameters(self) -> None:
        with pytest.raises(ValueError, match=r"Duplicated param names a, b at path"):
            compile_path("/{b}/{a}/{b}/{a}")

    def test_an_unknown_convertor_is_named_with_those_known(self) -> None:
        with pytest.raises(ValueError, match=r"Unknown path convertor 'unknown'.*int, path, str"):
            compile_path("/{id:unknown}")

    def test_an_unknown_convertor_is_an_assertion_error_too(self) -> None:
        with pytest.raises(AssertionError):
            compile_path("/{id:unknown}")

    def test_a_path_without_its_slash(self) -> None:
        with pytest.raises(ValueError, match=r"Here: Routed paths must start with '/'.*Write '/a'"):
            check_path("a", "Here")

    def test_a_path_that_is_no_text(self) -> None:
        with pytest.raises(TypeError, match=r"Here: the path must be a string, not 1\."):
            check_path(1, "Here")


class TestReplacing:
    def test_values_take_their_places_and_others_are_left_over(self) -> None:
        _, path_format, convertors = compile_path("/{a}/{b:int}")
        replaced = replace_params(path_format, convertors, {"a": "x", "b": 1, "c": 2})
        assert replaced == ("/x/1", {"c": 2})

    def test_a_missing_value_leaves_its_placeholder(self) -> None:
        _, path_format, convertors = compile_path("/{a}/{b}")
        assert replace_params(path_format, convertors, {"b": "x"}) == ("/{a}/x", {})

    def test_a_value_that_looks_like_a_placeholder_stays(self) -> None:
        _, path_format, convertors = compile_path("/{a}/{b}")
        replaced, _ = replace_params(path_format, convertors, {"a": "{b}", "b": "x"})
        assert replaced == "/{b}/x"

    def test_the_caller_s_dict_is_not_changed(self) -> None:
        _, path_format, convertors = compile_path("/{a}")
        params = {"a": "x", "b": "y"}
        replace_params(path_format, convertors, params)
        assert params == {"a": "x", "b": "y"}


def test_what_stands_for_itself_in_a_path_is_not_encoded() -> None:
    """RFC 3986 s.3.3, pchar; and braces, of a parameter that was left open."""
    path = "/a-._~!$&'()*+,;=:@/{b}"
    assert encode_path(path) == path


@given(st.text(min_size=1).filter(lambda text: "/" not in text))
def test_an_encoded_path_is_decoded_to_itself(text: str) -> None:
    """RFC 3986 s.2.4: what has a meaning of its own is encoded, and decoded once."""
    encoded = encode_path("/" + text)
    assert urllib.parse.unquote(encoded) == "/" + text
    assert not set("?# \\%\n") & set(encoded) - {"%"}
    assert encoded.isascii()


@pytest.mark.parametrize(
    ("pattern", "path", "params"),
    [
        ("/{a}-{b}/x", "/1-2-3/x", {"a": "1-2", "b": "3"}),
        ("/{a}-{b:int}", "/x-1-2", {"a": "x-1", "b": "2"}),
        ("/{a:int}.{b:float}", "/1.2.5", {"a": "1", "b": "2.5"}),
        ("/v{a}-{b}.json", "/v1-2.json", {"a": "1", "b": "2"}),
        ("/{a}-{b}", "/1-2/", None),
        ("/{a}-{b}", "/-", None),
    ],
)
def test_a_segment_of_several_parameters_is_divided_as_a_whole(
    pattern: str, path: str, params: dict[str, str] | None
) -> None:
    found = compile_path(pattern)[0].match(path)
    assert (found and found.groupdict()) == params


_LITERALS = ("", "/", "/x/", "x", "xx", "/xx", "x/x/", "//", "-", "--")


@st.composite
def several_params(draw: st.DrawFn) -> str:
    """Draw a pattern with a few parameters, most of which hold slashes, and texts that overlap."""
    literal = st.sampled_from(_LITERALS)
    kinds = draw(st.lists(st.sampled_from([":path", "", ":int", ":float"]), min_size=1, max_size=5))
    params = [f"{{p{place}{kind}}}{draw(literal)}" for place, kind in enumerate(kinds)]
    return f"/{draw(literal)}{''.join(params)}"


@given(several_params(), st.lists(st.sampled_from(["/", "x", "-", "1", ".", "\n", "/x/", "xx"])))
def test_a_path_is_divided_as_by_the_plain_regex(pattern: str, pieces: list[str]) -> None:
    regex, _, convertors = compile_path(pattern)
    texts = PARAM_REGEX.split(pattern)[::3]
    groups = [f"(?P<{name}>{convertor.regex})" for name, convertor in convertors.items()]
    plain = "".join(
        re.escape(text) + group for text, group in zip(texts, [*groups, ""], strict=True)
    )
    path = "/" + "".join(pieces)
    found, expected = regex.match(path), re.match(plain + r"\Z", path)
    assert (found and found.groupdict()) == (expected and expected.groupdict())
    if isinstance(regex, LinearPattern):
        regex.plain_size = 0  # without `re`
        found = regex.match(path)
        assert (found and found.groupdict()) == (expected and expected.groupdict())


class Slug(Convertor[str]):
    """A convertor of a user: words with hyphens between them."""

    regex = "[a-z0-9]+(?:-[a-z0-9]+)*"


class Nested(Convertor[str]):
    """A convertor whose expression alone makes a backtracking engine exponential."""

    regex = "(?:[a-z]+)+"


class Ahead(Convertor[str]):
    """A convertor with a lookahead, which only a backtracking engine can match."""

    regex = "(?!admin)[a-z]+"


@pytest.fixture
def own_convertors(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, convertor in (("slug", Slug()), ("nested", Nested()), ("ahead", Ahead())):
        monkeypatch.setitem(CONVERTOR_TYPES, name, convertor)


@pytest.mark.usefixtures("own_convertors")
@pytest.mark.parametrize(
    "pattern",
    ["/a", "/{a}", "/{a}/{b:int}/x", "/{a:path}", "/{a}.json", "/{a:float}/{b:uuid}", "/{a:slug}",
     "/{a}/{path:path}", "{tenant}.example.org"],
)  # fmt: skip
def test_a_pattern_with_one_way_to_match_is_a_plain_regex(pattern: str) -> None:
    assert type(compile_path(pattern)[0]) is re.Pattern


COMMON = ["str", "int", "float", "uuid", "path"]


@pytest.mark.parametrize("last", COMMON)
@pytest.mark.parametrize("first", COMMON[:-1])
def test_a_pattern_that_slashes_divide_is_linear_by_the_automaton_too(
    first: str, last: str
) -> None:
    convertors = CONVERTOR_TYPES[first], CONVERTOR_TYPES[last]
    tokens = ["/", ("a", convertors[0]), "/x.", ("b", convertors[1]), "9.json"]
    regex = compile_path(f"/{{a:{first}}}/x.{{b:{last}}}9.json")[0]
    assert type(regex) is re.Pattern
    assert make_linear(regex, tokens) is regex


@pytest.mark.usefixtures("own_convertors")
@pytest.mark.parametrize(
    ("pattern", "slow"),
    [("/a", None), ("/{s}-{t}-{u}", None), ("/{a:nested}", None), ("/{a:ahead}", "a")],
)
def test_a_regex_without_a_bound_is_known(pattern: str, slow: str | None) -> None:
    assert find_slow_param(compile_path(pattern)[2]) == slow


@pytest.mark.usefixtures("own_convertors")
def test_a_regex_without_a_bound_still_matches() -> None:
    regex = compile_path("/{a:ahead}-{b}")[0]
    assert regex.match("/user-1")
    assert regex.match("/admin-1") is None
