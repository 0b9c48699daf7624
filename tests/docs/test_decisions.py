"""Each decision has a number of its own, a date, a status and a condition for another look."""

import re
from collections import Counter
from pathlib import Path

import pytest

RECORDS = sorted((Path(__file__).resolve().parents[2] / "docs" / "decisions").glob("*.md"))


def test_numbers_are_unique():
    numbers = Counter(record.name[:4] for record in RECORDS)

    assert [number for number, count in numbers.items() if count > 1] == []


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_record_begins_with_number_date_status_and_revisit(record):
    title, _, head = record.read_text("utf-8").partition("\n")

    assert title.startswith(f"# {record.name[:4]}: ")
    assert re.match(
        r"\n- Date: \d{4}-\d\d-\d\d.*\n- Status: (accepted|superseded).*\n- Revisit when: \S", head
    )


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_a_path_in_a_record_exists(record):
    root = record.parents[2]
    paths = re.findall(r"`((?:spica|tests|benchmarks)/[\w/.]+)`", record.read_text("utf-8"))

    assert [path for path in paths if not (root / path).exists()] == []
