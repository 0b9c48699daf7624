"""spica._originals: whether a method is still the one that its class was defined with."""

import pytest

from spica._originals import is_original, remember


class Base:
    def go(self):
        return "base"

    def stop(self):
        return "base"

    @staticmethod
    def pure():
        return "base"


class Nearer(Base):
    def go(self):
        return "nearer"


remember(Base, "go", "stop", "pure")
remember(Nearer, "go")


class Subclass(Nearer):
    pass


class Overriding(Nearer):
    def go(self):
        return "own"


class Borrowing(Nearer):
    go = Base.go


class Mixed:
    def go(self):
        return "mixin"


class WithMixin(Mixed, Nearer):
    pass


@pytest.mark.parametrize("cls", [Base, Nearer, Subclass])
def test_an_untouched_method_is_original(cls):
    assert is_original(cls, "go", "stop", "pure")
    assert is_original(cls(), "go", "stop")


@pytest.mark.parametrize("cls", [Overriding, Borrowing, WithMixin])
def test_an_overridden_method_is_not(cls):
    assert not is_original(cls, "go")
    assert not is_original(cls(), "stop", "go")
    assert is_original(cls, "stop")


def test_a_patched_method_is_not(monkeypatch):
    monkeypatch.setattr(Base, "stop", lambda self: "patched")
    assert not is_original(Base, "stop")
    assert not is_original(Subclass(), "stop")


def test_a_method_assigned_on_an_instance_is_not():
    changed = Base()
    changed.go = lambda: "assigned"
    assert not is_original(changed, "go")
    assert is_original(Base(), "go")


def test_the_method_of_another_instance_is_not():
    changed = Base()
    changed.go = Base().go
    assert not is_original(changed, "go")


def test_a_class_that_remembers_nothing_has_no_original_method():
    assert not is_original(Mixed, "go")
    assert not is_original(Mixed(), "go")
    assert not is_original(Mixed, "missing")
