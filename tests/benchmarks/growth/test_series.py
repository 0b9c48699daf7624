"""What was measured along one axis."""

import pytest

from benchmarks.growth.bodies import Upload, not_flat
from benchmarks.growth.series import Series, data_size
from benchmarks.table import compact


def make_series():
    series = Series("routes", "Routes", "routes", "µs")
    for place, spica, starlette in [(1, 4, 8), (1000, 4.26, 812.4)]:
        series.add("spica", place, spica)
        series.add("starlette", place, starlette)
    return series


def test_the_table_has_a_column_for_each_place():
    assert make_series().markdown().splitlines() == [
        "| µs, by routes | 1 | 1,000 |",
        "| --- | ---: | ---: |",
        "| spica | 4.0 | 4.3 |",
        "| Starlette | 8.0 | 812 |",
    ]


def test_the_plot_has_a_line_for_each_framework():
    assert make_series().svg().count("<polyline") == 2


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (99.94, "99.9"), (1, "1.0"), (0.0123, "0.012")]
)
def test_numbers_are_short(value, text):
    assert compact(value) == text


@pytest.mark.parametrize(
    ("size", "text"), [(1023, "1023 B"), (1024, "1 KB"), (1024**2, "1 MB"), (10 * 1024**2, "10 MB")]
)
def test_sizes_have_units(size, text):
    assert data_size(size) == text


MEGABYTE = 1024**2


@pytest.mark.parametrize(
    ("largest", "fault"),
    [(3024, ""), (3025, "grows by 1.0 MB, not 1.0")],
    ids=["1 MB more", "over 1 MB more"],
)
def test_memory_may_grow_by_a_megabyte_once_buffers_are_full(largest, fault):
    assert not_flat({1024: 5, MEGABYTE: 2000, 100 * MEGABYTE: largest}) == fault


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["stream", "form"])
async def test_an_upload_has_the_length_that_it_announces(way):
    upload = Upload(150_000, way)
    length = dict(upload.call().headers)[b"content-length"]
    size, more = 0, True
    while more:
        message = await upload.receive()
        size += len(message["body"])
        more = message["more_body"]

    assert size == int(length)
