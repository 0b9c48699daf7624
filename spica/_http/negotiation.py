"""Which of several media types a client prefers (RFC 9110 s.12.5.1, Accept).

Pure functions; the cost is linear in the header, of which ``MAX_LIST_ITEMS`` members are parsed.
"""

from __future__ import annotations

from spica._http.fields import parse_quality_list

Ranges = list[tuple[str, float]]


def weigh_media_type(ranges: Ranges, media_type: str) -> float | None:
    """Return the weight that the most specific of ``ranges`` gives a media type; None: none names it.

    ``media_type`` is in lower case and has no parameters; ranges with parameters are not for it.
    """
    # RFC 9110 s.12.5.1: the most specific reference has precedence
    for wanted in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        weights = [weight for name, weight in ranges if name == wanted]
        if weights:
            return max(weights)
    return None


def prefers_problem_details(accept: str | None) -> bool:
    """Tell whether an error is better told as problem details (RFC 9457) than as a text.

    A client that says it reads ``application/json`` reads ``application/problem+json`` too, unless it
    excludes that. Where both are equally welcome, as to ``*/*`` or without the header, it is problem details;
    a browser names ``text/html`` and gets a text.
    """
    if accept is None:
        return True
    ranges = parse_quality_list(accept)
    problem = weigh_media_type(ranges, "application/problem+json")
    if problem == 0.0:
        return False
    weight = max(problem or 0.0, weigh_media_type(ranges, "application/json") or 0.0)
    texts = (weigh_media_type(ranges, name) or 0.0 for name in ("text/html", "text/plain"))
    return weight > 0.0 and weight >= max(texts)
