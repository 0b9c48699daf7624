"""Tests of spica/_diagnostics/users.py."""

import warnings

import pytest

from spica._diagnostics.users import check_users
from spica.authentication import AuthenticationBackend
from spica.exceptions import SpicaConfigurationWarning
from spica.middleware import Middleware
from spica.middleware.authentication import AuthenticationMiddleware
from spica.middleware.cors import CORSMiddleware


class Declared(CORSMiddleware):
    middleware_traits = ("authenticates",)


class Foreign:
    pass


@pytest.mark.parametrize("recipes", [[], [Middleware(CORSMiddleware)]])
def test_an_application_that_can_not_identify_users_is_a_warning(recipes):
    with pytest.warns(SpicaConfigurationWarning, match="Every route that is not public fails"):
        check_users(recipes)


@pytest.mark.parametrize(
    "recipe",
    [
        Middleware(AuthenticationMiddleware, backend=AuthenticationBackend()),
        Middleware(Declared),
        Middleware(Foreign),
    ],
    ids=["ours", "declared", "foreign"],
)
def test_a_layer_may_identify_users(recipe):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_users([recipe])
