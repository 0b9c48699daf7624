"""Tests of spica/reading.py."""

import contextlib
import enum
import json
import sys
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from http import HTTPStatus
from typing import (
    Annotated,
    Any,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Self,
    TypedDict,
    TypeVar,
)
from uuid import UUID

import annotated_types
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from asgi_kit import call

from spica import reading
from spica.applications import Spica
from spica.datastructures import UploadFile
from spica.middleware import Middleware
from spica.middleware.requestid import RequestIdMiddleware
from spica.reading import InvalidInput, prepare, read_json, read_strings
from spica.requests import MalformedJSON, Request
from spica.responses import JSONResponse
from spica.testclient import AsyncTestClient

pytestmark = pytest.mark.anyio


@dataclass
class Point:
    x: int


class PydanticPoint(pydantic.BaseModel):
    x: int


class StructPoint(msgspec.Struct):
    x: int


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


Name = NewType("Name", str)
T = TypeVar("T")


@dataclass
class Address:
    city: str
    zip: int | None = None


@dataclass
class Person:
    name: Name
    age: int
    address: Address | None = None
    tags: list[str] = field(default_factory=list)

    def __post_init__(self):
        if self.age < 0:
            raise ValueError("age must not be negative")


class PersonDict(TypedDict):
    name: str
    age: int
    tags: NotRequired[list[str]]


class PersonStruct(msgspec.Struct):
    name: str
    age: int
    tags: list[str] = []


class PersonModel(pydantic.BaseModel):
    name: str
    age: int
    tags: list[str] = []


MODELS = [Person, PersonDict, PersonStruct, PersonModel]


def request_with(body=b"", content_type="application/json", query=b"", params=None):
    headers = [(b"content-type", content_type.encode())] if content_type else []
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    scope.update(query_string=query, path_params=params or {})

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


async def read(model, value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return await request_with(body).read(model)


async def errors_of(model, value):
    with pytest.raises(InvalidInput) as caught:
        await read(model, value)
    return {error["pointer"]: error["detail"] for error in caught.value.errors}


def name_of(person):
    return person["name"] if isinstance(person, dict) else person.name


@pytest.mark.parametrize("model", MODELS)
async def test_a_body_becomes_a_model(model):
    person = await read(model, {"name": "Ada", "age": 36, "tags": ["a"], "unknown": 1})
    assert name_of(person) == "Ada"
    assert isinstance(person, dict if model is PersonDict else model)


@pytest.mark.parametrize("model", MODELS)
async def test_a_mistake_has_a_pointer(model):
    errors = await errors_of(model, {"name": "Ada", "age": 1, "tags": ["a", 7]})
    assert [*errors] == ["/tags/1"]  # RFC 6901


@pytest.mark.parametrize("model", [Person, PersonDict, PersonModel])
async def test_all_mistakes_are_found(model):
    assert [*await errors_of(model, {"age": "x", "tags": {}})] == ["/name", "/age", "/tags"]


@pytest.mark.parametrize("model", MODELS)
async def test_a_missing_field_has_a_pointer_of_its_own(model):
    assert [*await errors_of(model, {"name": "Ada"})] == ["/age"]


@pytest.mark.parametrize("model", [list[PersonStruct], PersonStruct, PersonModel])
async def test_json_that_is_nested_too_deeply_is_a_mistake_of_the_client(model):
    # msgspec skips an unknown field as long as the stack of the interpreter allows it.
    with pytest.raises((json.JSONDecodeError, InvalidInput)):
        await read(model, b'{"unknown":' + b"[" * 1_500_000 + b"]" * 1_500_000 + b"}")


@pytest.mark.parametrize("model", MODELS)
async def test_another_document_is_refused(model):
    assert [*await errors_of(model, [1])] == [""]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("body", [b"", b"{", b'{"name"', b"\xff", b'{"name":"\xff"}'])
async def test_malformed_json_is_a_400(model, body):
    with pytest.raises(json.JSONDecodeError):
        await read(model, body)


@pytest.mark.parametrize("model", MODELS)
async def test_a_form_becomes_a_model(model):
    body = b"name=Ada&age=36&tags=a&tags=b"
    person = await request_with(body, "application/x-www-form-urlencoded").read(model)
    assert name_of(person) == "Ada"
    assert (person["tags"] if isinstance(person, dict) else person.tags) == ["a", "b"]


@pytest.mark.parametrize("model", MODELS)
def test_a_query_becomes_a_model(model):
    person = request_with(query=b"name=A&name=Ada&age=36&tags=a").query(model)
    assert name_of(person) == "Ada"
    assert (person["age"] if isinstance(person, dict) else person.age) == 36


@pytest.mark.parametrize("model", MODELS)
def test_a_wrong_query_is_refused(model):
    with pytest.raises(InvalidInput, match="The query is invalid") as caught:
        request_with(query=b"name=Ada&age=old").query(model)
    assert [error["pointer"] for error in caught.value.errors] == ["/age"]


@pytest.mark.parametrize("model", MODELS)
def test_path_parameters_become_a_model(model):
    person = request_with(params={"name": "Ada", "age": 36}).path(model)
    assert name_of(person) == "Ada"


FORMATS = "application/json, application/x-www-form-urlencoded, multipart/form-data"


@pytest.mark.parametrize("content_type", ["text/plain", "application/xml", "application/jsonx"])
async def test_another_type_is_a_415(content_type):
    async def endpoint(request):
        return JSONResponse(await request.read(PersonDict))

    app = Spica()
    app.add_route("/", endpoint, methods=["POST"])
    headers = [("content-type", content_type)]
    exchange = await call(app, "POST", headers=headers, body=b"{}")
    assert (exchange.status, exchange.headers["accept"]) == (415, FORMATS)


@pytest.mark.parametrize(
    "content_type", ["", "Application/JSON; charset=utf-8", "application/problem+json"]
)
async def test_types_of_json_are_read(content_type):
    person = await request_with(b'{"name": "Ada", "age": 1}', content_type).read(Person)
    assert person == Person(Name("Ada"), 1)


async def test_nested_models_are_read():
    person = await read(Person, {"name": "A", "age": 1, "address": {"city": "B", "zip": None}})
    assert person.address == Address("B", None)
    value = {"name": "A", "age": 1, "address": {"zip": "x"}}
    assert [*await errors_of(Person, value)] == ["/address/city", "/address/zip"]


async def test_post_init_may_refuse_values():
    assert await errors_of(Person, {"name": "A", "age": -1}) == {"": "age must not be negative"}


@pytest.mark.parametrize("model", [Person, PersonStruct, PersonModel])
async def test_lists_of_models_are_read(model):
    [person] = await read(list[model], [{"name": "A", "age": 1}])
    assert isinstance(person, model)
    assert [*await errors_of(list[model], [{"name": "A", "age": 1}, {"name": 1, "age": 1}])] == [
        "/1/name"
    ]


DATE = "2026-11-28"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (int, 7, 7),
        (int, True, None),
        (int, 7.0, None),
        (int, "7", None),
        (float, 7, 7.0),
        (float, "7", None),
        (float, True, None),
        (bool, True, True),
        (bool, 1, None),
        (str, "a", "a"),
        (str, 1, None),
        (Size, "s", Size.SMALL),
        (Size, "x", None),
        (Size, [], None),
        (Literal["a", 1], 1, 1),
        (Literal["a", 1], True, None),
        (Decimal, "1.5", Decimal("1.5")),
        (Decimal, "NaN", None),
        (Decimal, "x", None),
        (date, DATE, date(2026, 11, 28)),
        (date, "28.11.2026", None),
        (datetime, DATE + "T12:00:00Z", datetime.fromisoformat(DATE + "T12:00:00+00:00")),
        (datetime, 7, None),
        (UUID, "0" * 32, UUID(int=0)),
        (UUID, "x", None),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, str], [1], None),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[int], [1, 1], {1}),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[str, int], {"a": "b"}, None),
        (Annotated[int, "unit"], 7, 7),
        (int | str, "a", "a"),
        (int | str, [], None),
        (Any, {"a": [1]}, {"a": [1]}),
        (list, [1, "a"], [1, "a"]),
    ],
    ids=repr,
)
async def test_values_are_checked(kind, value, expected):
    if expected is None:
        assert await errors_of(kind, value)
    else:
        found = await read(kind, value)
        assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (int, "7", 7),
        (int, "+7", 7),
        (int, "7_0", None),
        (int, "\u0667", None),
        (int, "9" * 4001, None),
        (float, "1e3", 1000.0),
        (float, "inf", None),
        (bool, "true", True),
        (bool, "OFF", False),
        (bool, "yes", None),
        (Literal[1, 2], "2", 2),
        (int | None, "7", 7),
        (Size, "l", Size.LARGE),
    ],
    ids=str,
)
def test_strings_are_converted(kind, text, expected):
    model = TypedDict("model", {"a": kind})  # noqa: UP013
    request = request_with(params={"a": text})
    if expected is None:
        with pytest.raises(InvalidInput):
            request.path(model)
    else:
        assert request.path(model) == {"a": expected}


async def test_names_in_pointers_are_escaped():
    assert [*await errors_of(dict[str, int], {"a/b~c": "x"})] == ["/a~1b~0c"]


@dataclass
class Tree:
    child: "Tree | None" = None


async def test_deep_input_is_refused():
    body = b'{"child":' * 900 + b"{}" + b"}" * 900
    assert await errors_of(Tree, body) == {"": "is nested too deeply"}


async def test_at_most_100_mistakes_are_listed():
    assert len(await errors_of(list[int], ["x"] * 1000)) == 100


async def test_objects_after_the_100th_mistake_are_not_built():
    assert len(await errors_of(list[Address], [{}] * 150)) == 100


@dataclass
class Sum:
    kind: Literal["sum"]
    left: "Sum | Product | int"
    right: "Sum | Product | int"


@dataclass
class Product(Sum):
    kind: Literal["product"]  # type: ignore[assignment]


@pytest.mark.parametrize("leaf", [1, "wrong"])
async def test_each_object_of_nested_unions_is_read_once_for_each_kind(leaf, monkeypatch):
    tree, depth, calls = leaf, 30, []
    for _ in range(depth):
        tree = {"kind": "product", "left": tree, "right": 1}
    read_object = reading._Check.read_object
    monkeypatch.setattr(
        reading._Check, "read_object", lambda *args: calls.append(1) or read_object(*args)
    )
    try:
        result = await read(Sum | Product, tree)
    except InvalidInput:
        result = None
    assert isinstance(result, Product) == (leaf == 1)
    assert len(calls) <= 6 * (depth + 1)


async def test_a_set_of_any_items_refuses_arrays_and_objects():
    detail = "must not have arrays or objects as items"
    assert await errors_of(set[Any], [1, [2]]) == {"": detail}


async def test_a_set_of_a_model_without_a_hash_is_a_mistake_of_the_programmer():
    with pytest.raises(TypeError, match="unhashable"):
        await read(set[Address], [{"city": "Bonn"}])


class Page(msgspec.Struct, Generic[T]):
    items: list[T]


@pydantic.dataclasses.dataclass
class PageModel(Generic[T]):
    items: list[T]


@dataclass
class PlainPage(Generic[T]):
    items: list[T]
    next: Self | None = None


class PageDict(TypedDict, Generic[T]):
    items: list[T]


@dataclass
class Grows(Generic[T]):
    value: T
    more: "Grows[list[T]] | None" = None


async def test_a_generic_model_and_self_are_read():
    page = await read(PlainPage[int], {"items": [1], "next": {"items": [2]}})
    assert page == PlainPage([1], PlainPage([2]))
    errors = await errors_of(PlainPage[int], {"items": [1], "next": {"items": ["x"]}})
    assert errors == {"/next/items/0": "must be an integer"}
    assert await read(PageDict[str], {"items": ["a"]}) == {"items": ["a"]}
    prepare(PlainPage[int], PageDict[str], Grows[int])


@pytest.mark.parametrize(
    ("hint", "value", "expected"),
    [(float | int, 2**63 + 1, 2**63 + 1), (float | int, 1.5, 1.5), (float | str, 1, 1.0)],
)
async def test_a_union_takes_the_exact_type_first(hint, value, expected):
    found = await read(list[hint], [value])
    assert (found, type(found[0])) == ([expected], type(expected))


@pytest.mark.parametrize("text", ["20200101", "10", "T10"])
async def test_digits_without_colons_are_not_a_time(text):
    assert await errors_of(list[time], [text]) == {"/0": "must be a time"}


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    age: int


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    age: int


class Home(pydantic.BaseModel):
    pet: Annotated[Dog | Cat, pydantic.Field(discriminator="kind")] | None = None
    other: Dog | Cat | None = None
    sizes: dict[int, int] = {}
    number: int | list[int] = 0
    alias: int = pydantic.Field(0, alias="a/b~c")


class Ports(msgspec.Struct, rename={"main": "main.port", "side": "side[0]"}):
    main: int = 0
    side: int = 0
    names: dict[str, int] = {}
    nested: list[dict[str, list[int]]] = []


@dataclass
class Town:
    homes: list[Home] = field(default_factory=list)
    ports: Ports | None = None


@pytest.mark.parametrize(
    ("model", "value", "pointers"),
    [
        (Home, {"pet": {"kind": "dog", "age": "x"}}, ["/pet/age"]),
        (Home, {"pet": {"kind": "dog"}}, ["/pet/age"]),
        (Home, {"pet": {"kind": "cow"}}, ["/pet"]),
        (Home, {"other": {"kind": "dog", "age": "x"}}, ["/other/age", "/other/kind"]),
        (Home, {"sizes": {"a": 1}}, ["/sizes/a"]),
        (Home, {"sizes": {"1": "a"}}, ["/sizes/1"]),
        (Home, {"number": ["x"]}, ["/number", "/number/0"]),
        (Home, {"a/b~c": "x"}, ["/a~1b~0c"]),
        (Home, [], [""]),
        (Ports, {"main.port": "x"}, ["/main.port"]),
        (Ports, {"side[0]": "x"}, ["/side[0]"]),
        (Ports, {"names": {"a": 1, "b": "x"}}, ["/names"]),
        (Ports, {"nested": [{}, {"a": ["x"]}]}, ["/nested/1"]),
        (Ports, [], [""]),
        (Town, {"homes": [{}, {"sizes": {"a": 1}}]}, ["/homes/1/sizes/a"]),
        (Town, {"ports": {"main.port": "x"}}, ["/ports/main.port"]),
    ],
    ids=str,
)
async def test_pointers_lead_to_values_of_the_document(model, value, pointers):
    assert sorted(await errors_of(model, value)) == pointers


@pytest.mark.parametrize("model", [Page[int], PageModel[int]])
async def test_arguments_of_a_generic_model_are_checked(model):
    assert (await read(model, {"items": [1]})).items == [1]
    assert [*await errors_of(model, {"items": ["x"]})] == ["/items/0"]
    assert [*await errors_of(list[model], [{"items": ["x"]}])] == ["/0/items/0"]
    assert request_with(query=b"items=1&items=2").query(model).items == [1, 2]
    prepare(model)


class StrictEvent(pydantic.BaseModel, strict=True):
    day: date


async def test_a_strict_model_in_a_list_takes_what_json_can_express():
    assert (await read(list[StrictEvent], [{"day": "2026-01-02"}]))[0].day == date(2026, 1, 2)
    assert [*await errors_of(list[StrictEvent], [{"day": "x"}])] == ["/0/day"]


class Switch(enum.Enum):
    ON = True
    HALF = 0.5


class Rate(enum.Enum):
    WHOLE = 1.0


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        *((float, each) for each in ("1_0", " 1", "\u0661", "1e", ".")),
        *((Decimal, each) for each in ("1_0", " 1", "\u0661", "1e", ".")),
    ],
)
async def test_numbers_in_strings_have_no_spaces_underscores_and_other_digits(kind, text):
    with pytest.raises(InvalidInput):
        read_strings(dict[str, kind], [("n", text)], "query")


@pytest.mark.parametrize("text", ["1", "-1.5", "+.5", "1.", "1e3", "1.5E-3"])
def test_numbers_in_strings_are_decimal_numbers(text):
    assert read_strings(dict[str, float], [("n", text)], "query") == {"n": float(text)}


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (Literal[True], "true", True),
        (Literal[False], "0", False),
        (Switch, "true", Switch.ON),
        (Switch, "0.5", Switch.HALF),
        (Literal[Size.SMALL], "s", Size.SMALL),
    ],
)
def test_choices_in_strings_have_the_spelling_of_their_type(kind, text, expected):
    assert read_strings(dict[str, kind], [("n", text)], "query") == {"n": expected}


async def test_a_number_that_is_whole_equals_a_choice_with_a_point():
    assert await read(Rate, 1) is Rate.WHOLE


@pytest.mark.parametrize("model", MODELS)
async def test_a_byte_order_mark_is_ignored(model):
    assert name_of(await read(model, b'\xef\xbb\xbf{"name":"a","age":1}')) == "a"


Names = NewType("Names", list[str])


@dataclass
class Tagged:
    tags: Names


def test_a_new_type_of_a_list_takes_all_values_of_its_name():
    assert request_with(query=b"tags=a&tags=b").query(Tagged).tags == ["a", "b"]


@dataclass
class Limited:
    age: Annotated[int, annotated_types.Ge(18)]


@dataclass
class LimitedByMsgspec:
    ages: list[Annotated[int, msgspec.Meta(ge=18)]]


class LimitedByPydantic(TypedDict):
    age: Annotated[int, pydantic.Field(ge=18)] | None


@dataclass
class Described:
    age: Annotated[int, "in years", msgspec.Meta(description="in years")]


@pytest.mark.parametrize("model", [Limited, LimitedByMsgspec, LimitedByPydantic])
async def test_a_constraint_that_would_not_be_checked_is_an_error(model):
    with pytest.raises(TypeError, match=r"Limited\w*\.age.* is not checked .* __post_init__"):
        prepare(model)
    with pytest.raises(TypeError, match="is not checked"):
        await read(model, {"age": 1})


async def test_a_description_is_no_constraint():
    assert (await read(Described, {"age": 1})).age == 1


class Plain:
    """A class that is no model."""


class Pair(NamedTuple):
    left: int
    right: int


@dataclass
class WithPlain:
    names: list[Plain]


@dataclass
class WithKeys:
    counts: dict[int, int]


@dataclass
class WithBytes:
    data: bytes | None = None


@dataclass
class WithCallable:
    then: Callable[[], int]


class WithPair(TypedDict):
    pair: Pair


@dataclass
class Outer:
    inner: list[WithBytes]


@dataclass
class Unknown:
    name: "Missing"  # noqa: F821


class UnknownStruct(msgspec.Struct):
    name: "Missing"  # noqa: F821


UNSUPPORTED = [
    ({"name": str}, {}, r"^A request can't be read as \{'name': <class 'str'>\}\. Use a type"),
    (Address("Rome"), {}, r"^A request can't be read as Address\("),
    (complex, 1, r"^A request can't be read as complex\. Use a type such as str"),
    (WithPlain, {"names": [1]}, r"^WithPlain\.names: a request can't be read as Plain\. Make the"),
    (WithKeys, {"counts": {"1": 1}}, r"^WithKeys\.counts: .* as dict\[int, int\]\. The keys"),
    (WithBytes, {"data": "a"}, r"^WithBytes\.data: a request can't be read as bytes\. Use a type"),
    (WithCallable, {"then": 1}, r"^WithCallable\.then: .*Callable.*\. Use a type"),
    (WithPair, {"pair": [1, 2]}, r"^WithPair\.pair: a request can't be read as Pair\. Make the"),
    (Outer, {"inner": [{"data": "a"}]}, r"^WithBytes\.data: a request can't be read as bytes"),
    (Unknown, {"name": "a"}, r"^Unknown: name 'Missing' is not defined\. Import it where"),
]


@pytest.mark.parametrize(("model", "value", "message"), UNSUPPORTED)
async def test_a_type_that_can_not_be_read_is_an_error_with_the_field_and_the_fix(
    model, value, message
):
    with pytest.raises(TypeError, match=message):
        await read(model, value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        *[(model, message) for model, _, message in UNSUPPORTED],
        (UnknownStruct, "^UnknownStruct: name 'Missing' is not defined"),
        (msgspec.defstruct("Arrays", [("x", list[int] | set[int])]), "more than one array-like"),
        (list[Plain], r"^A request can't be read as Plain\."),
    ],
)
def test_prepare_finds_a_type_that_can_not_be_read(model, message):
    with pytest.raises(TypeError, match=message):
        prepare(Person, model)


def test_prepare_accepts_what_can_be_read():
    prepare(*MODELS, Tree, Upload, InitOnly, list[Person], dict[str, int], tuple[int, ...])
    prepare(Size, Name, Any, Literal["a", 1], Annotated[int, object()], int | None, set[UUID], list)


def test_path_parameters_may_have_a_class_of_a_convertor():
    pair = Pair(1, 2)
    assert request_with(params={"pair": pair}).path(WithPair)["pair"] is pair


@dataclass
class Upload:
    file: UploadFile


@dataclass
class InitOnly:
    name: InitVar[str]
    size: InitVar[int] = 1
    label: Final[str] = "x"

    def __post_init__(self, name, size):
        self.text = f"{name}{size}{self.label}"


async def test_fields_of_dataclasses_that_are_only_arguments_are_read():
    assert (await read(InitOnly, {"name": "a", "size": 2, "label": "y"})).text == "a2y"
    assert (await read(InitOnly, {"name": "a"})).text == "a1x"
    assert await errors_of(InitOnly, {}) == {"/name": "is required"}


def test_a_query_becomes_a_dict():
    assert request_with(query=b"a=1&b=2").query(dict[str, int]) == {"a": 1, "b": 2}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs the `type` statement")
async def test_a_type_statement_is_read():
    space = {}
    exec("type Number = int", space)
    prepare(space["Number"])
    assert await read(space["Number"], 1) == 1
    assert await errors_of(space["Number"], "x") == {"": "must be an integer"}


async def test_the_response_has_problem_details():
    async def endpoint(request):
        return JSONResponse((await request.read(Person)).name)

    app = Spica()
    app.add_route("/", endpoint, methods=["POST"])
    async with AsyncTestClient(app) as client:
        response = await client.post("/", json={"name": "A"})
    assert response.headers["content-type"] == "application/problem+json"  # RFC 9457
    assert response.json() == {
        "type": "about:blank",
        "title": HTTPStatus(422).phrase,
        "status": 422,
        "detail": "The body is invalid.",
        "errors": [{"pointer": "/age", "detail": "is required"}],
    }


@pytest.mark.parametrize("model", [Point, PydanticPoint, StructPoint])
def test_json_from_elsewhere_is_read(model):
    for data in ('{"x": 1}', b'{"x": 1}'):
        assert read_json(model, data).x == 1
    with pytest.raises(InvalidInput, match="The event is invalid") as caught:
        read_json(model, '{"x": "one"}', place="event")
    assert [error["pointer"] for error in caught.value.errors] == ["/x"]


@pytest.mark.parametrize("model", [Point, PydanticPoint, StructPoint])
@pytest.mark.parametrize(
    "data", ["", "{", b"\xff", '"\ud800"', "[" * 3000, '{"x": NaN}'], ids=ascii
)
def test_malformed_json_from_elsewhere_names_the_position(model, data):
    with pytest.raises((MalformedJSON, InvalidInput)) as caught:
        read_json(model, data)
    if isinstance(caught.value, MalformedJSON):
        assert caught.value.detail.startswith("Malformed JSON: ")
        assert "(char " in caught.value.detail
    else:  # a library that reads more than JSON, or finds the wrong type first
        assert model is not Point


@pytest.mark.parametrize(("model", "data"), [('{"x": 1}', Point), (Point, {"x": 1})])
def test_data_that_is_not_json_is_a_mistake_of_the_program(model, data):
    with pytest.raises(TypeError, match=r"read_json|can't be read"):
        read_json(model, data)


async def test_the_problem_details_name_the_request():
    async def endpoint(request):
        return JSONResponse((await request.read(Person)).name)

    app = Spica(middleware=[Middleware(RequestIdMiddleware)])
    app.add_route("/", endpoint, methods=["POST"])
    async with AsyncTestClient(app) as client:
        response = await client.post("/", json={})
    assert response.json()["request_id"] == response.headers["x-request-id"]


async def test_the_mistakes_of_a_form_say_that_it_was_read_as_a_form():
    request = request_with(b'{"name": "A"}', "application/x-www-form-urlencoded")
    with pytest.raises(InvalidInput, match="The form is invalid"):
        await request.read(Person)


async def test_a_file_of_a_form_is_a_field():
    @dataclass
    class Upload:
        file: UploadFile

    body = (
        b'--b\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\nhi\r\n--b--\r\n'
    )
    request = request_with(body, "multipart/form-data; boundary=b")
    upload = await request.read(Upload)
    assert await upload.file.read() == b"hi"
    await request.close()


@pytest.mark.parametrize("model", MODELS)
async def test_a_body_over_the_limit_is_a_413(model):
    with pytest.raises(Exception, match="413"):
        await request_with(b" " * 101).read(model, max_size=100)


class Numbers(pydantic.BaseModel):
    values: list[int]


@dataclass
class PlainNumbers:
    values: list[int]


@dataclass
class Choices:
    values: list[int | list[int] | dict[str, list[int]] | None]


@pytest.mark.parametrize("model", [Numbers, PlainNumbers, Choices])
@pytest.mark.parametrize("count", [99, 100, 101, 9_999])
async def test_a_hundred_mistakes_are_listed(model, count):
    errors = await errors_of(model, {"values": ["x"] * count})
    assert [*errors] == [f"/values/{index}" for index in range(min(count, 100))]


async def test_pydantic_describes_no_million_mistakes():
    errors = await errors_of(Numbers, {"values": ["x"] * 10_001})
    assert errors == {"": "has 10001 mistakes"}


class CountingList(list):
    """A list that counts how many of its items are read."""

    reads = 0

    def __iter__(self):
        for item in super().__iter__():
            self.reads += 1
            yield item


@pytest.mark.parametrize("model", [list[int], list[int | None], list[int] | None])
def test_the_rest_of_a_value_with_a_hundred_mistakes_is_not_read(model):
    values = CountingList(["x"] * 10_000)
    check = reading._Check(False)
    with contextlib.suppress(reading._TooMany):
        check.read(model, values, "")
    assert len(check.errors) == 100
    assert values.reads == 100
