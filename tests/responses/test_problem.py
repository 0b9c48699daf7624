"""Problem details (RFC 9457): the response class."""

import json
from typing import Any

import pytest

from spica.responses import ProblemDetailsResponse


def members(response: ProblemDetailsResponse) -> Any:
    return json.loads(response.body)


def test_a_status_alone() -> None:
    """RFC 9457 s.4.2.1: the type is about:blank, the title is the phrase of the status."""
    response = ProblemDetailsResponse(404)
    assert response.status_code == 404
    assert response.headers["content-type"] == "application/problem+json"
    assert members(response) == {"type": "about:blank", "title": "Not Found", "status": 404}


def test_all_members() -> None:
    response = ProblemDetailsResponse(
        403,
        "Your balance is 30, but that costs 50.",
        type="https://example.com/probs/out-of-credit",
        title="You do not have enough credit.",
        instance="/account/12345/msgs/abc",
        extensions={"balance": 30, "accounts": ["/account/12345"]},
        headers={"Retry-After": "60"},
    )
    assert response.headers["retry-after"] == "60"
    assert members(response) == {
        "type": "https://example.com/probs/out-of-credit",
        "title": "You do not have enough credit.",
        "status": 403,
        "detail": "Your balance is 30, but that costs 50.",
        "instance": "/account/12345/msgs/abc",
        "balance": 30,
        "accounts": ["/account/12345"],
    }


def test_a_status_without_a_phrase_has_no_title() -> None:
    assert members(ProblemDetailsResponse(499)) == {"type": "about:blank", "status": 499}


@pytest.mark.parametrize("status", [200, 999])
def test_a_status_has_three_digits(status: int) -> None:
    assert ProblemDetailsResponse(status).status_code == status


def test_a_type_of_its_own_has_no_title_by_default() -> None:
    assert "title" not in members(ProblemDetailsResponse(400, type="/probs/a"))


def test_a_background_task() -> None:
    task: Any = object()
    assert ProblemDetailsResponse(400, background=task).background is task


@pytest.mark.parametrize(
    ("arguments", "options", "error", "text"),
    [
        (["404"], {}, TypeError, "status_code must be an int, not '404'."),
        ([True], {}, TypeError, "status_code must be an int, not True."),
        ([99], {}, ValueError, "99 is not the status of a response with content."),
        ([204], {}, ValueError, "204 is not the status of a response with content."),
        ([304], {}, ValueError, "304 is not the status of a response with content."),
        ([1000], {}, ValueError, "1000 is not the status of a response with content."),
        ([400, {"a": 1}], {}, TypeError, "detail must be a string (RFC 9457 s.3.1), not {'a': 1}."),
        ([400], {"title": 1}, TypeError, "title must be a string (RFC 9457 s.3.1), not 1."),
        ([400], {"type": 1}, TypeError, "type must be a string (RFC 9457 s.3.1), not 1."),
        ([400], {"type": "a b"}, ValueError, "type must be a URI reference, and 'a b' contains"),
        (
            [400],
            {"instance": "/ä"},
            ValueError,
            "instance must be a URI reference, and '/ä' contains",
        ),
        ([400], {"extensions": [1]}, TypeError, "extensions must be a mapping, not [1]."),
        (
            [400],
            {"extensions": {1: 1}},
            TypeError,
            "the name of an extension must be a string, not 1.",
        ),
        (
            [400],
            {"extensions": {"detail": 1}},
            ValueError,
            "'detail' is a standard member and can't be an extension.",
        ),
    ],
    ids=str,
)
def test_what_is_refused(arguments: Any, options: Any, error: Any, text: str) -> None:
    with pytest.raises(error) as caught:
        ProblemDetailsResponse(*arguments, **options)
    assert str(caught.value).startswith(f"ProblemDetailsResponse: {text}")
