"""Plots as SVG."""

import xml.etree.ElementTree as ElementTree

import pytest

from benchmarks.growth.svg import Plot, Scale, draw, spread, ticks_of_y

PLOT = Plot(
    "A < B",
    "routes",
    "µs",
    {"one": [(1, 5.0), (10, 50.0), (100, 500.0)], "two": [(1, 4.0), (10, 4.0), (100, 4.0)]},
)
SVG = "{http://www.w3.org/2000/svg}"


def test_it_is_a_document_with_a_title():
    root = ElementTree.fromstring(draw(PLOT))

    assert root.find(f"{SVG}title").text == "A < B"


def test_every_point_has_its_mark_and_every_line_its_name():
    root = ElementTree.fromstring(draw(PLOT))

    assert len(root.findall(f"{SVG}circle")) == 6
    assert len(root.findall(f"{SVG}polyline")) == 2
    assert {"one", "two", "µs", "routes"} <= {text.text for text in root.findall(f"{SVG}text")}


def test_the_same_numbers_give_the_same_text():
    assert draw(PLOT) == draw(PLOT)


def test_it_is_legible_on_dark_pages():
    assert "prefers-color-scheme: dark" in draw(PLOT)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        pytest.param(3, 2000, [1, 10, 100, 1000, 10000], id="decades"),
        pytest.param(3, 90, [3, 10, 30, 100], id="halves"),
        pytest.param(4.0, 8.0, [2, 5, 10], id="narrow"),
        pytest.param(5, 5, [5], id="one value"),
    ],
)
def test_the_ticks_are_round_and_enclose_the_values(low, high, ticks):
    assert ticks_of_y(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize("log", [True, False])
def test_a_scale_maps_its_ends(log):
    scale = Scale(1, 100, 50, 250, log)

    assert (scale(1), scale(100)) == (50, 250)
    assert scale(10) == (150 if log else 68.2)


def test_labels_do_not_lie_on_each_other():
    assert spread([100, 20, 102]) == [100, 20, 115]
