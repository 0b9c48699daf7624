"""The JSON codec: what json.dumps does where json can, and RFC 8259 on the way in."""

import array
import collections
import contextlib
import dataclasses
import datetime
import decimal
import enum
import functools
import gc
import json
import math
import pathlib
import re
import struct
import sys
import types
import uuid
from typing import Any

import attrs
import orjson
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from stable_ids import stable_id

from spica import jsoncodec
from spica.jsoncodec import JSONCodec, decode, default_codec, encode
from spica.responses import JSONResponse

UTC = datetime.UTC
NAN, INFINITY = float("nan"), float("inf")


def stdlib(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


class Text(str): ...


class Whole(int): ...


class Real(float): ...


class Table(dict[str, Any]): ...


class Row(list[Any]): ...


class Level(enum.IntEnum):
    LOW = 1


class Color(enum.StrEnum):
    RED = "red"


class Flag(enum.IntFlag):
    A = 1
    B = 2


class Ratio(float, enum.Enum):
    HALF = 0.5


class Sorted(dict[str, int]):
    """A dict whose items are not those of its memory."""

    def items(self) -> Any:
        return sorted(super().items())


Pair = collections.namedtuple("Pair", "a b")


def moved() -> "collections.OrderedDict[str, int]":
    ordered = collections.OrderedDict(a=1, b=2)
    ordered.move_to_end("a")
    return ordered


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        "é\u2028\x7f😀",
        '\x00\x1f"\\/\b\f\n\r\t',
        [],
        {},
        {"a": [1, (2, 3)]},
        1.0,
        -0.0,
        0.1 + 0.2,
        2**63,
        2**64,
        -(2**63) - 1,
        {"a": 10**400},
        {1: 2, 1.5: 3, False: 4, None: 5},
        {1: 1, "1": 2},
        {Level.LOW: 1},
        {Color.RED: 1},
        {Text("a"): Text("b")},
        [Whole(1), Real(1.5), Table(a=1), Row([1])],
        [Level.LOW, Color.RED, Flag.A | Flag.B, Ratio.HALF],
        Pair(1, None),
        moved(),
        Sorted(b=1, a=2),
        collections.defaultdict(int, a=1),
        "null",
        {"null": None},
        [None, 1.5],
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_bytes_are_those_of_the_standard_library(value: Any) -> None:
    assert encode(value) == stdlib(value)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(
            st.text() | st.integers() | st.floats() | st.booleans() | st.none(), inner
        )
    ),
)


@given(json_values)
@example([None, NAN])
@example({"null": INFINITY})
def test_any_value_means_the_same_as_with_the_standard_library(value: Any) -> None:
    try:
        expected = json.loads(stdlib(value))
    except ValueError as error:
        with pytest.raises(type(error)):
            encode(value)
    else:
        assert json.loads(encode(value)) == expected


@given(json_values)
def test_what_was_encoded_is_decoded_to_the_same_as_by_the_standard_library(value: Any) -> None:
    try:
        data = encode(value)
    except ValueError:
        return
    assert decode(data) == json.loads(data)
    assert decode(data.decode()) == json.loads(data)


@dataclasses.dataclass
class Amount:
    """An amount that can't be added to a number. Its error is not a TypeError."""

    cents: int

    def __radd__(self, other: Any) -> Any:
        raise ArithmeticError("not an amount")


@dataclasses.dataclass
class Point:
    x: float
    y: Any = None
    _hidden: int = 3

    @functools.cached_property
    def computed(self) -> int:
        return 1


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: int


@attrs.define
class Attrs:
    x: Any
    _y: int = 2


class Plain(enum.Enum):
    TEXT = "t"
    PAIR = (1, 2)


class Moment(datetime.datetime): ...


class Identity(uuid.UUID): ...


UUID = uuid.UUID(int=1)
ODD_ZONE = datetime.timezone(datetime.timedelta(hours=1, seconds=1))

BEYOND_JSON = [
    (datetime.datetime(2020, 1, 2, 3, 4, 5, 6), '"2020-01-02T03:04:05.000006"'),
    (datetime.datetime(2020, 1, 2, tzinfo=UTC), '"2020-01-02T00:00:00+00:00"'),
    (datetime.datetime(2020, 1, 2, tzinfo=ODD_ZONE), '"2020-01-02T00:00:00+01:00"'),
    (Moment(2020, 1, 2), '"2020-01-02T00:00:00"'),
    (datetime.date(2020, 1, 2), '"2020-01-02"'),
    (datetime.time(1, 2, 3), '"01:02:03"'),
    (datetime.time(1, 2, 3, tzinfo=UTC), '"01:02:03+00:00"'),
    (UUID, f'"{UUID}"'),
    (Identity(int=1), f'"{UUID}"'),
    (decimal.Decimal("1.10"), '"1.10"'),
    (Plain.TEXT, '"t"'),
    (Plain.PAIR, "[1,2]"),
    (Point(1.5), '{"x":1.5,"y":null,"_hidden":3}'),
    (Point(1.5, Point(2.0, [])), '{"x":1.5,"y":{"x":2.0,"y":[],"_hidden":3},"_hidden":3}'),
    (Slotted(1), '{"x":1}'),
    (Attrs(UUID), f'{{"x":"{UUID}","_y":2}}'),
]


@pytest.mark.parametrize(("value", "text"), BEYOND_JSON, ids=lambda value: repr(value)[:40])
def test_more_types_are_written_without_a_hook(value: Any, text: str) -> None:
    assert encode(value).decode() == text


@pytest.mark.parametrize(("value", "text"), BEYOND_JSON, ids=lambda value: repr(value)[:40])
def test_they_are_written_the_same_beside_what_only_the_standard_library_writes(
    value: Any, text: str
) -> None:
    assert encode({1: value}).decode() == f'{{"1":{text}}}'


@pytest.mark.parametrize(("value", "text"), BEYOND_JSON, ids=lambda value: repr(value)[:40])
def test_they_are_written_the_same_beside_null(value: Any, text: str) -> None:
    assert encode([None, value]).decode() == f"[null,{text}]"


def test_a_cached_property_of_a_dataclass_is_no_field() -> None:
    point = Point(1.0)
    point.computed  # noqa: B018  # it is in the object's __dict__ now

    assert b"computed" not in encode(point)


@pytest.mark.parametrize("number", [NAN, INFINITY, -INFINITY, Real("nan")], ids=repr)
@pytest.mark.parametrize(
    "wrap",
    [
        lambda number: number,
        lambda number: [1, (2, {"a": number})],
        lambda number: {"a": None, "b": [number]},
        lambda number: {number: 1},
        lambda number: {1: number},
        lambda number: Pair(None, number),
        lambda number: Point(number),
        lambda number: Attrs([Attrs(number)]),
        lambda number: Table(a=Row([number])),
    ],
    ids=[
        "bare",
        "nested",
        "beside null",
        "key",
        "beside an int key",
        "tuple",
        "dataclass",
        "attrs",
        "subclasses",
    ],
)
def test_a_number_that_is_not_finite_is_a_value_error(wrap: Any, number: float) -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        encode(wrap(number))


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        (b"x", "bytes"),
        (bytearray(b"x"), "bytearray"),
        (memoryview(b"x"), "memoryview"),
        (datetime.timedelta(1), "timedelta"),
        (Point, "type"),
        ((x for x in ()), "generator"),
        ([1, {"a": object()}], "object"),
    ],
    ids=stable_id,
)
def test_a_type_without_a_form_in_json_is_a_type_error(value: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"^Object of type {name} is not JSON serializable"):
        encode(value)


def test_a_coroutine_asks_for_an_await() -> None:
    async def text() -> str:
        return "text"

    coroutine = text()
    with pytest.raises(TypeError, match=r"^Object of type coroutine .* Is an `await` missing\?$"):
        encode(coroutine)
    coroutine.close()


@pytest.mark.parametrize(
    "key", [(1, 2), UUID, datetime.date(2020, 1, 1), Plain.TEXT, b"a"], ids=str
)
def test_a_key_without_a_form_in_json_is_a_type_error(key: Any) -> None:
    with pytest.raises(TypeError, match="keys must be str, int, float, bool or None, not"):
        encode({key: 1})


def test_a_value_that_contains_itself_is_a_value_error() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(ValueError, match="Circular reference detected"):
        encode(value)


def test_a_lone_surrogate_is_a_unicode_error() -> None:
    with pytest.raises(UnicodeEncodeError):
        encode("\ud800")


@pytest.mark.parametrize("depth", [253, 254, 255, 600])
def test_a_value_may_be_nested_deeper_than_the_codec_goes(depth: int) -> None:
    value: Any = None
    for _ in range(depth):
        value = [value]

    assert encode(value) == b"[" * depth + b"null" + b"]" * depth


@attrs.define
class Failing:
    x: int

    def __getattribute__(self, name: str) -> Any:
        if name == "x":
            raise KeyError("failing")
        return super().__getattribute__(name)


def test_an_error_of_the_value_itself_is_raised_as_it_is() -> None:
    with pytest.raises(KeyError, match="failing"):
        encode([Failing(1)])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        (' {"a" : [1, 2.5, true, "x\\u00e9"] } ', {"a": [1, 2.5, True, "xé"]}),
        ('{"a":1,"a":2}', {"a": 2}),
        ('"\\ud83d\\ude00"', "😀"),
        ("18446744073709551615", 2**64 - 1),
        ("18446744073709551616", 2**64),
        ("-9223372036854775808", -(2**63)),
        ("-9223372036854775809", -(2**63) - 1),
        ("1" * 400, int("1" * 400)),
        ("[" + "1" * 4300 + "]", [int("1" * 4300)]),
        ('["' + "1" * 30 + '"]', ["1" * 30]),
        ("0.30000000000000000000000000004", 0.3),
        ("123456789012345678901234567890.5", 1.2345678901234568e29),
        ('"\\u0000' + "1" * 400 + '"', "\0" + "1" * 400),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_json_is_decoded(text: str, value: Any) -> None:
    for data in (text, text.encode(), bytearray(text.encode()), memoryview(text.encode())):
        decoded = decode(data)  # type: ignore[arg-type]  # more than is promised

        assert decoded == value
        assert type(decoded) is type(value)


def test_a_byte_order_mark_is_passed_over() -> None:
    # RFC 8259 s.8.1
    assert decode(b"\xef\xbb\xbf[1]") == [1]
    assert decode(b"\xef\xbb\xbf[" + b"1" * 30 + b"]") == [int("1" * 30)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "[1,]",
        '{"a":}',
        "{'a':1}",
        "01",
        "1 2",
        "-",
        "+1",
        ".5",
        "1.",
        "tru",
        '"\t"',
        '"\\x"',
        "\ufeff1",
    ],
    ids=repr,
)
def test_what_is_not_json_is_refused_with_the_error_of_the_standard_library(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)

    for data in (
        (text, text.encode().removeprefix(b"\xef\xbb\xbf") or b"") if text != "\ufeff1" else (text,)
    ):
        with pytest.raises(json.JSONDecodeError) as raised:
            decode(data)

        assert type(raised.value) is json.JSONDecodeError
        assert (raised.value.msg, raised.value.doc, raised.value.pos) == (
            expected.value.msg,
            expected.value.doc,
            expected.value.pos,
        )


@pytest.mark.parametrize(
    ("data", "position"),
    [
        (b"NaN", 0),
        (b"[Infinity]", 1),
        (b"-Infinity", None),
        (b"1e400", 0),
        (b"-1e400", None),
        (b'"\\ud800"', None),
        (b'["\\ud800",' + b"1" * 400 + b"]", None),
        (b"[NaN," + b"1" * 400 + b"]", 1),
        (b"[" * 1025 + b"]" * 1025, None),
        (b"[" * 2000 + b"1" * 400 + b"]" * 2000, None),
        (b"[" * 100_000, None),
        (b'{"a":' * 100_000, None),
        (b"1" * 4301, None),
        (b"\xff", 0),
        (b'"\xff"', 1),
        (b'"\xed\xa0\x80"', 1),  # a surrogate in UTF-8
        ('{"a":1}'.encode("utf-16"), 0),
        ('"\ud800"', 1),
        ("\ud800", 0),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_could_not_be_answered_with_is_refused(data: Any, position: int | None) -> None:
    with pytest.raises(json.JSONDecodeError) as raised:
        decode(data)

    assert isinstance(raised.value.doc, str)
    assert 0 <= raised.value.pos <= len(raised.value.doc)
    if position is not None:
        assert raised.value.pos == position


@pytest.mark.parametrize("depth", [1023, 1024])
def test_1024_levels_are_decoded(depth: int) -> None:
    value = decode(b"[" * depth + b"]" * depth)

    for _ in range(depth - 1):
        (value,) = value
    assert value == []


@given(st.binary())
@example(b"\xef\xbb\xbf")
def test_garbage_gives_the_documented_error_only(data: bytes) -> None:
    try:
        value = decode(data)
    except json.JSONDecodeError:
        return
    assert decode(encode(value)) == value


@given(st.text(alphabet='[]{}",:0123456789.eE-+ntrufals\\ud\ud800é'))
def test_what_was_decoded_can_be_encoded(text: str) -> None:
    try:
        value = decode(text)
    except json.JSONDecodeError:
        return
    assert decode(encode(value)) == value


@pytest.mark.parametrize("data", [None, 5, [], object()], ids=stable_id)
def test_what_is_neither_text_nor_bytes_is_a_type_error(data: Any) -> None:
    with pytest.raises(TypeError, match="JSON must be decoded from bytes or str, not"):
        decode(data)


def test_floats_keep_their_kind() -> None:
    assert isinstance(decode("1.0"), float)
    assert math.copysign(1, decode("-0.0")) == -1


@pytest.mark.parametrize("codec", [default_codec, jsoncodec], ids=["object", "module"])
def test_the_codec_is_an_object_that_can_be_replaced(codec: JSONCodec) -> None:
    assert codec.decode(codec.encode({"a": [1]})) == {"a": [1]}


class TestDepth:
    """What can be decoded can be encoded, whatever the interpreter's limit of recursion."""

    @pytest.mark.parametrize("levels", [254, 255, 900, 1000, 1024])
    @pytest.mark.parametrize(("begin", "end"), [("[", "]"), ('{"a":', "}")], ids=["list", "dict"])
    def test_what_is_read_can_be_written(self, levels: int, begin: str, end: str) -> None:
        text = begin * (levels - 1) + "[]" + end * (levels - 1)
        limit = sys.getrecursionlimit()
        assert encode(decode(text)).decode() == text
        assert sys.getrecursionlimit() == limit

    @pytest.mark.parametrize("levels", [1025, 5000, 100_000])
    def test_what_is_too_deep_is_not_read(self, levels: int) -> None:
        with pytest.raises(json.JSONDecodeError):
            decode("[" * levels + "]" * levels)

    @pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: Link(inner)])
    def test_a_value_beyond_the_limit_is_a_value_error(self, wrap: Any) -> None:
        value: Any = None
        for _ in range(100_000):
            value = wrap(value)
        with pytest.raises(ValueError, match=r"nested too deeply .* 1024 levels always work"):
            encode(value)
        while value is not None:  # from the outside: a chain frees itself by recursion
            value = value.next if isinstance(value, Link) else value[0]

    def test_a_circle_of_objects_is_an_error(self) -> None:
        first = Link(None)
        first.next = Link(first)
        with pytest.raises(ValueError, match="Circular reference detected"):
            encode(first)

    @pytest.mark.parametrize(
        ("wrong", "error"),
        [(float("nan"), ValueError), (object(), TypeError), ({(1, 2): 1}, TypeError)],
        ids=["NaN", "object", "key"],
    )
    def test_errors_deep_inside(self, wrong: Any, error: type[Exception]) -> None:
        value = wrong
        for _ in range(500):
            value = [value]
        with pytest.raises(error, match=r"The value is at (\[0\]){500} of what was passed"):
            encode(value)


@dataclasses.dataclass
class Link:
    next: Any


@dataclasses.dataclass
class Holder:
    held: Any


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, {"b": {1}}]}, "['a'][1]['b']"),
        ([1, float("nan")], "[1]"),
        ({"a": "\ud800"}, "['a']"),
        ([Holder({"x": object()})], "[0]['held']['x']"),
        ({"a": None, "b": ((b"",),)}, "['b'][0][0]"),
    ],
    ids=["set", "NaN", "surrogate", "dataclass", "tuple"],
)
def test_an_error_says_where_the_value_stands(value: Any, place: str) -> None:
    with pytest.raises((TypeError, ValueError)) as info:
        encode(value)
    said = " ".join([str(info.value), *getattr(info.value, "__notes__", ())])
    assert f"The value is at {place} of what was passed." in said


def test_an_error_without_a_place_has_none() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for value in ({1}, circle, {(1, 2): 3}):
        with pytest.raises((TypeError, ValueError)) as info:
            encode(value)
        assert "The value is at" not in str(info.value)


class Model(pydantic.BaseModel):
    name: str


class Attribute:
    """An object of a library that is not installed here, recognised by an attribute of its class."""

    def __init_subclass__(cls, **attributes: Any) -> None:
        for name, value in attributes.items():
            setattr(cls, name, value)


class Struct(Attribute, __struct_fields__=("name",)): ...


class SQLAlchemyModel(Attribute, __mapper__=object()): ...


class DjangoModel(Attribute, _meta=object()): ...


class Frame(Attribute, to_dict=dict): ...


class Array(Attribute, tolist=list): ...


async def items() -> Any:
    yield 1


FIXES: list[tuple[Any, str]] = [
    (Model(name="a"), 'Pass its `.model_dump(mode="json")` instead'),
    (Struct(), "Pass `msgspec.to_builtins(value)` instead"),
    (SQLAlchemyModel(), "Pass a dict of the columns that the client may see"),
    (DjangoModel(), "Pass a dict of the fields that the client may see"),
    (Frame(), "Pass its `.to_dict()` instead"),
    (Array(), "Pass its `.tolist()` instead"),
    (array.array("d", [1.0]), "Pass its `.tolist()` instead"),
    (JSONResponse(1), "Return the response itself instead"),
    (Model, "are the brackets missing?"),
    (len, "Pass its return value: are the brackets missing?"),
    (lambda: 1, "Pass its return value: are the brackets missing?"),
    (b"a", "Pass a string: `.decode()` for text, base64 for other bytes"),
    (datetime.timedelta(1), "Pass its `.total_seconds()` instead"),
    (1j, "Pass its real and imaginary parts instead"),
    (types.MappingProxyType({}), "Pass `dict(value)` instead"),
    ({1}, "Pass `sorted(value)` or `list(value)` instead"),
    ({}.keys(), "Pass `sorted(value)` or `list(value)` instead"),
    (pathlib.Path("a"), "Pass `str(value)` instead"),
    (KeyError("a"), "Pass `str(value)` instead"),
    ((each for each in ()), "Pass `list(value)` instead, or use a StreamingResponse"),
    (range(2), "Pass `list(value)` instead"),
    (collections.deque(), "Pass `list(value)` instead"),
    (items(), "Collect the items with `[item async for item in items]`"),
    (object(), "Pass a dict or a string instead"),
]


@pytest.mark.parametrize(("value", "fix"), FIXES, ids=lambda value: type(value).__name__)
def test_an_error_names_the_fix_and_the_place(value: Any, fix: str) -> None:
    name = re.escape(f"Object of type {type(value).__name__} is not JSON serializable. ")
    with pytest.raises(TypeError, match=f"^{name}.*{re.escape(fix)}"):
        encode(value)
    with pytest.raises(TypeError, match=f"^{name}.*{re.escape(fix)}.* is at \\['a'\\]\\[1\\] of"):
        encode({"a": [None, value]})


def test_an_error_about_a_key_names_the_fix_and_the_place() -> None:
    words = r"not decimal.Decimal\. Use `str\(key\)` as the key\. The value is at \['a'\] of what"
    with pytest.raises(TypeError, match=words):
        encode({"a": {decimal.Decimal(1): 2}})


class TestLargeValues:
    """Values that take 2 KiB of JSON and more are searched for NaN and infinity by columns."""

    @pytest.mark.parametrize("number", [NAN, -NAN, INFINITY, -INFINITY, Real("inf")], ids=repr)
    @pytest.mark.parametrize(
        "rest",
        [
            lambda: [{"id": n, "none": None, "x": n / 7} for n in range(100)],
            lambda: [{"id": n, **({"x": n / 7} if n % 3 else {"y": None})} for n in range(200)],
            lambda: [{"id": n, "none": None} for n in range(200)] + [{}] + [{"id": 1, "x": 1}],
            lambda: [{f"key {n}": n / 7 for n in range(300)}, {}, None],
            lambda: [1e308] * 300 + [None],
            lambda: [[None] * 1000, (1.5, Table(a=1))],
            lambda: [None, "x" * 3000, datetime.date(2020, 1, 1)],
        ],
        ids=[
            "rows",
            "two kinds of rows",
            "a short row",
            "a wide row",
            "overflow",
            "subclass",
            "date",
        ],
    )
    def test_a_number_that_is_not_finite_is_found(self, rest: Any, number: float) -> None:
        assert encode(rest()) == encode_reference(rest())
        for value in ([*rest(), number], [number, *rest()], {"a": rest(), "b": {"c": (number,)}}):
            with pytest.raises(
                ValueError, match=r"Out of range float values .* The value is at \["
            ):
                encode(value)

    def test_objects_that_refuse_arithmetic_may_stand_among_numbers(self) -> None:
        numbers = list(range(1000))
        expected = encode_reference([[*numbers, {"cents": 5}], None])
        assert encode([[*numbers, Amount(5)], None]) == expected

    def test_every_bit_pattern_of_nan_is_found(self) -> None:
        for high in (0x7FF0, 0x7FF4, 0x7FF8, 0x7FFF, 0xFFF0, 0xFFF8, 0xFFFF):
            (number,) = struct.unpack(">d", high.to_bytes(2, "big") + b"\0\0\0\0\0\1")
            with pytest.raises(ValueError, match="Out of range float"):
                encode([None] * 1000 + [number])

    @given(json_values)
    def test_they_mean_the_same_as_with_the_standard_library(self, value: Any) -> None:
        large = [None, "x" * 3000, value]
        try:
            expected = json.loads(stdlib(large))
        except ValueError as error:
            with pytest.raises(type(error)):
                encode(large)
        else:
            assert json.loads(encode(large)) == expected


def encode_reference(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def test_an_orjson_fragment_is_written_beside_null() -> None:
    fragment = orjson.Fragment(b"[null]")
    assert encode([fragment, None]) == b"[[null],null]"


@pytest.mark.skipif(sys.version_info < (3, 15), reason="frozendict is new in Python 3.15")
def test_a_frozendict_is_an_object() -> None:
    frozen = eval("frozendict")(a=[None])
    for value in (frozen, [frozen, None, "x" * 3000], {1: frozen}):
        assert encode(value) == stdlib(value)


hostile_numbers = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "-", "+"]),
    st.sampled_from(["0", "00", "1", "9", "17", "18", "19", "92", "93"])
    | st.builds(lambda digit, count: digit * count, st.sampled_from("0189"), st.integers(1, 330))
    | st.integers(0, 2**66).map(str),
    st.sampled_from(["", ".", ".0", "." + "0" * 30 + "1", ".5" + "1" * 25]),
    st.sampled_from(["", "e", "E5", "e-5", "e+308", "E-400", "e" + "0" * 25 + "1"])
    | st.builds(
        "e{}{}{}".format,
        st.sampled_from(["", "+", "-"]),
        st.text("0", max_size=25),
        st.integers(0, 500),
    ),
)


def is_infinite(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(is_infinite, value.values()))
    if isinstance(value, list):
        return any(map(is_infinite, value))
    return isinstance(value, float) and math.isinf(value)


@given(
    st.lists(hostile_numbers, min_size=1, max_size=3),
    st.sampled_from(
        [
            "{}",
            "[{},{}]",
            '{{"a":{},"{}":{}}}',
            "[ {} ,\n{}]",
            "\n{}\t",
            '["{}", {}]',
            '[[{}],"\\u{}"]',
        ]
    ),
)
@example(["1e0000000000000000000999"], "[{}]")
@example(["1" * 400 + ".0"], "{}")
@example(["-1E+0000400"], '{{"a":{},"{}":{}}}')
@example(["18446744073709551616"], "{}")
@example(["-9223372036854775809"], "[ {} ,\n{}]")
@example(["1e400", "1" * 30], "[{},{}]")
def test_numbers_are_those_of_the_standard_library_unless_infinite(
    numbers: list[str], form: str
) -> None:
    text = form.format(*(numbers * 3))
    try:
        expected = json.loads(text)
    except json.JSONDecodeError as error:
        with pytest.raises(json.JSONDecodeError, match=re.escape(str(error))):
            decode(text)
        return
    if is_infinite(expected):
        with pytest.raises(json.JSONDecodeError, match="Number is infinity"):
            decode(text)
    else:
        for data in (text, text.encode(), b"\xef\xbb\xbf" + text.encode()):
            decoded = decode(data)
            assert decoded == expected
            assert repr(decoded) == repr(expected)


@pytest.mark.parametrize(
    "integer",
    [2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**20, -(10**18) - 5, 10**400, -(10**19)],
    ids=repr,
)
@pytest.mark.parametrize("form", ["{}", "[{}]", '{{"a": {}}}', "[1,{}]", "\ufeff{}", "[\n{}]"])
def test_every_integer_beyond_64_bits_is_exact(form: str, integer: int) -> None:
    assert str(integer) in repr(decode(form.format(integer).encode()))


def test_fractions_and_text_do_not_cause_a_second_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        '[0.00012345678901234567, 1e-00000000000000000005, "12345678901234567890123", '
        '18446744073709551615, -9223372036854775808, "a-12345678901234567890", -1234567890123456789]'
    )
    expected = json.loads(text)
    monkeypatch.setattr(jsoncodec.json, "loads", None)
    assert decode(text) == expected


@pytest.mark.parametrize(
    ("data", "message", "position"),
    [
        ('{"é":[' + "1" * 4301 + "]}", "Number with too many digits", 6),
        ('{"é":"' + "1" * 4301 + '",1}', "Expecting property name enclosed in double quotes", 4309),
        ('"é\ud800"', "Not UTF-8", 2),
        ('"é'.encode() + b'\xff"', "Not UTF-8", 2),
        ("[1," + "1" * 40 + ",NaN]", "Unexpected character, expected a JSON value", 44),
        ("[" + "1," * 600_000 + "]", "Trailing comma is not allowed", 1_200_000),
        ("[1]\0", "Extra data", 3),
    ],
    ids=["digits", "digits in text", "surrogate", "bytes", "long number", "large", "NUL"],
)
def test_an_error_names_its_position(data: Any, message: str, position: int) -> None:
    with pytest.raises(json.JSONDecodeError) as info:
        decode(data)
    assert (info.value.msg, info.value.pos) == (message, position)


@pytest.mark.parametrize("end", [", 36893488147419103232]", ", 1e400]", ""])
def test_a_document_is_not_decoded_again_while_its_first_value_is_alive(
    monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    alive: list[int] = []

    def count_and_load(text: str) -> Any:
        objects = [each for each in gc.get_objects() if type(each) is dict]
        alive.append(sum(each.keys() == {"unmistakable"} for each in objects))
        return load(text)

    load = json.loads
    monkeypatch.setattr(jsoncodec.json, "loads", count_and_load)
    with contextlib.suppress(json.JSONDecodeError):
        decode('[{"unmistakable": [[]]}' + end)
    assert alive == [0]


def test_a_refused_document_is_freed_with_its_error() -> None:
    def kept() -> list[Any]:
        return [each for each in gc.get_objects() if isinstance(each, json.JSONDecodeError)]

    gc.collect()
    before = kept()  # other tests may still hold theirs
    gc.disable()
    try:
        for data in (b"[1, 2", b"[1e400]", "[" + "1" * 30):
            with contextlib.suppress(json.JSONDecodeError):
                decode(data)  # type: ignore[arg-type]
        assert len(kept()) == len(before)
    finally:
        gc.enable()
