"""Authentication: the names of `spica.authentication`, and `spica.auth.jwt` for JSON Web Tokens."""

from spica.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    AuthenticationError,
    BaseUser,
    BasicCredentials,
    SimpleUser,
    UnauthenticatedUser,
    api_key,
    basic_credentials,
    bearer_token,
    has_required_scope,
    requires,
    same,
)

__all__ = [
    "AuthCredentials",
    "AuthenticationBackend",
    "AuthenticationError",
    "BaseUser",
    "BasicCredentials",
    "SimpleUser",
    "UnauthenticatedUser",
    "api_key",
    "basic_credentials",
    "bearer_token",
    "has_required_scope",
    "requires",
    "same",
]
