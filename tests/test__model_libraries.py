"""Tests of spica/_model_libraries.py."""

from dataclasses import dataclass
from typing import Any

import msgspec
import pydantic
import pytest

from spica._model_libraries import (
    Malformed,
    Mistakes,
    convert,
    decode,
    hints_of,
    is_library_model,
)


class Struct(msgspec.Struct, rename={"size": "Size"}):
    size: int
    parts: list["Struct"] = []
    rest: Any = ""


class Model(pydantic.BaseModel):
    size: int = pydantic.Field(alias="Size")
    parts: list["Model"] = []
    rest: Any = ""


@dataclass
class Plain:
    size: int


MODELS = pytest.mark.parametrize("model", [Struct, Model])


def test_models_of_libraries_are_known_without_their_library():
    assert is_library_model(Struct)
    assert is_library_model(Model)
    assert not is_library_model(Plain)


@MODELS
def test_a_document_becomes_a_model(model):
    assert decode(model, b'{"Size": 1, "parts": [{"Size": 2}]}').parts[0].size == 2


@MODELS
@pytest.mark.parametrize(
    "document",
    [
        *(b"", b"{", b'{"Size": 1, "rest": "\xff"}'),
        b'{"Size": 1, "rest": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["empty", "open", "not UTF-8", "deep"],
)
def test_a_document_that_is_not_json_is_malformed(model, document):
    with pytest.raises(Malformed):
        decode(model, document)


@MODELS
@pytest.mark.parametrize(
    ("document", "steps"),
    [
        (b'{"Size": "x"}', ["Size"]),
        (b'{"Size": 1, "parts": [{"Size": 1}, {"Size": null}]}', ["parts", "1", "Size"]),
        (b'{"Size": 1, "parts": [{}]}', ["parts", "0", "Size"]),
        (b"[]", []),
    ],
)
def test_a_mistake_has_the_steps_to_its_value(model, document, steps):
    with pytest.raises(Mistakes) as caught:
        decode(model, document)
    ((found, detail),) = caught.value.found
    assert [str(step) for step in found] == steps
    assert detail


def test_a_missing_field_below_a_key_that_msgspec_does_not_name_keeps_the_message():
    with pytest.raises(Mistakes) as caught:
        decode(dict[str, Struct], b'{"a": {"Size": 1}, "b": {"parts": []}}')
    assert caught.value.found == [([], "Object missing required field `Size`")]


@MODELS
def test_strings_are_numbers_where_values_are_text(model):
    assert convert(model, {"Size": "7"}, True).size == 7
    with pytest.raises(Mistakes):
        convert(model, {"Size": "x"}, True)


@MODELS
def test_fields_have_their_names_in_the_input(model):
    assert list(hints_of(model)) == ["Size", "parts", "rest"]


class Aliased(pydantic.BaseModel, populate_by_name=True):
    a: list[str] = pydantic.Field(validation_alias="A")
    b: list[str] = pydantic.Field(validation_alias=pydantic.AliasChoices("B", "C"))
    c: str = pydantic.Field(validation_alias=pydantic.AliasPath("D", 0))


def test_fields_of_pydantic_have_all_names_that_the_model_reads():
    several = list[str]
    assert hints_of(Aliased) == {
        "A": several,
        "a": several,
        "B": several,
        "C": several,
        "b": several,
        "D": list,
        "c": str,
    }


def test_an_error_of_a_validator_that_no_library_has_wrapped_is_raised():
    class Odd:
        class __pydantic_validator__:
            @staticmethod
            def validate_json(document):
                raise ValueError("odd")

    with pytest.raises(ValueError, match="odd"):
        decode(Odd, b"{}")


def test_a_rebuilt_model_is_read_with_its_new_rules():
    class Star(pydantic.BaseModel):
        name: str

    assert decode(Star, b'{"name": "Vega", "size": 2}') == Star(name="Vega")
    Star.model_config["extra"] = "forbid"
    Star.model_rebuild(force=True)
    with pytest.raises(Mistakes):
        decode(Star, b'{"name": "Vega", "size": 2}')
