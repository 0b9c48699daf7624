"""The decoders of a real browser on the bodies of CompressionMiddleware."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FOLDERS = (Path(__file__).resolve().parent,)


@pytest.fixture(scope="module")
def url(serve: Callable[..., Any]) -> str:
    return str(serve("compression_app:app", folders=FOLDERS).url)


@pytest.mark.parametrize("encoding", ["zstd", "br", "gzip"])
@pytest.mark.parametrize("kind", ["text", "stream"])
def test_the_browser_decodes_the_body(page: Any, url: str, encoding: str, kind: str) -> None:
    page.goto(url)
    code = """async path => {
        const [one, plain] = await Promise.all([fetch(path), fetch("/plain")]);
        return [await one.text() === await plain.text(), one.headers.get("content-encoding")];
    }"""
    assert page.evaluate(code, f"/{encoding}/{kind}") == [True, encoding]
