"""Which media type a client prefers (RFC 9110 s.12.5.1)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._http.fields import parse_quality_list
from spica._http.negotiation import prefers_problem_details, weigh_media_type

# RFC 9110 s.12.5.1, the last example
EXAMPLE = "text/*;q=0.3, text/plain;q=0.7, text/plain;format=flowed, text/plain;format=fixed;q=0.4, */*;q=0.5"


@pytest.mark.parametrize(
    ("media_type", "weight"),
    [("text/plain", 0.7), ("text/html", 0.3), ("image/jpeg", 0.5)],
)
def test_the_most_specific_range_has_precedence(media_type: str, weight: float) -> None:
    assert weigh_media_type(parse_quality_list(EXAMPLE), media_type) == weight


def test_what_no_range_names() -> None:
    assert weigh_media_type(parse_quality_list("image/*"), "text/html") is None


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "prefers"),
    [
        (None, True),
        ("*/*", True),
        (BROWSER, False),
        ("application/problem+json", True),
        ("application/json", True),
        ("application/json, text/plain, */*", True),
        ("APPLICATION/JSON", True),
        ("application/*", True),
        ("application/json;q=0.5, text/html", False),
        ("application/json;q=0.5, text/html;q=0.4", True),
        ("application/json;q=0.5, text/plain;q=0.5", True),
        ("application/json, application/problem+json;q=0", False),
        ("application/problem+json;q=0, */*", False),
        ("application/json;q=0", False),
        ("text/html", False),
        ("text/plain, */*;q=0.1", False),
        ("image/png", False),
        ("", False),
        (";;;,,q=1", False),
    ],
)
def test_problem_details_or_text(accept: str | None, prefers: bool) -> None:
    assert prefers_problem_details(accept) is prefers


@given(st.text(alphabet=st.characters(max_codepoint=255)))
def test_any_header_has_an_answer(accept: str) -> None:
    assert prefers_problem_details(accept) in (True, False)
