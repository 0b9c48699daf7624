"""What FastAPI is asked, and how fast it has to be on spica."""

from benchmarks.cases import SMALL, Case, json_bytes, post
from benchmarks.driver import Call

SIDES = ("spica", "starlette")
NOT_SLOWER = 1.0
"""The aim of most cases: the switch makes no application slower."""


def fastapi_cases() -> list[Case]:
    """Return the rows, in the order in which they are shown."""
    hello = b"Hello, world!"
    small = json_bytes(SMALL)
    query = Call("/users/42/posts/hello", query=b"q=python&page=2")
    posted = post("/", "application/json", small)
    one, five = (f'{number} `@app.middleware("http")`' for number in (1, 5))
    return [
        Case("plain", "one route, plain text", NOT_SLOWER, Call(), body=hello),
        Case("json", "a dict as JSON", NOT_SLOWER, Call(), body=small, check="json"),
        Case("params", "path and query parameters", NOT_SLOWER, query, body=b"42 hello python 2"),
        Case("body", "a model posted and returned", NOT_SLOWER, posted, body=small, check="json"),
        Case("thread", "`def` endpoint with two `def` dependencies", 0.65, Call(), body=hello),
        Case("middleware-1", one, NOT_SLOWER, Call(), body=hello),
        Case("middleware-5", five, 1 / 8, Call(), body=hello),  # at least 8 times as fast
    ]
