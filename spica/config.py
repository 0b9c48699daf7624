"""Settings from the environment and from an env file.

`Config` searches the environment first, then the file, and then uses the default. `environ` is `os.environ`
with one more rule: after a variable has been read, it can't be changed, because the values derived from it
would not change with it.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any, TypeVar, overload

from spica._diagnostics.call_site import user_line, warn_at
from spica.exceptions import SpicaConfigurationWarning, warn_configuration

T = TypeVar("T")
D = TypeVar("D")

_COLLECTIONS = (list, tuple, set, frozenset)
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


class undefined:
    """The default of a setting without a default."""


class EnvironError(Exception):
    """An environment variable was changed after it had been read."""


class Environ(MutableMapping[str, str]):
    """An environment whose variables can't be changed after they have been read.

    A look-up of a key, including ``in``, counts as reading it. Iterating over the keys does not.

    Args:
        environ: The mapping to wrap. Default ``os.environ``.

    Raises:
        EnvironError: A key that has been read is set or deleted.

    >>> environment = Environ({"DEBUG": "1"})
    >>> environment["DEBUG"]
    '1'
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._environ = environ
        self._read_at: dict[str, str] = {}

    def __getitem__(self, key: str) -> str:
        if key not in self._read_at:
            self._read_at[key] = str(user_line())
        return self._environ[key]

    def __setitem__(self, key: str, value: str) -> None:
        self._refuse_if_read(key, "set")
        self._environ[key] = value

    def __delitem__(self, key: str) -> None:
        self._refuse_if_read(key, "delete")
        del self._environ[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environ)

    def __len__(self) -> int:
        return len(self._environ)

    def forget_reads(self) -> None:
        """Allow changes to every key again, as if none had been read."""
        self._read_at.clear()

    def _refuse_if_read(self, key: str, verb: str) -> None:
        read_at = self._read_at.get(key)
        if read_at is not None:
            raise EnvironError(
                f"Attempting to {verb} environ[{key!r}], but the value has already been read. "
                f"That was at {read_at}. Change it before, or call reload() on the Config "
                "(forget_reads() on the Environ) and read it again."
            )


environ = Environ()
"""The environment of the process."""


class Config:
    """Look up settings: ``config("DEBUG", cast=bool, default=False)``.

    Args:
        env_file: A file of ``KEY=value`` lines, in the format of docker compose and python-dotenv. A
            missing file triggers a warning.
        environ: A mapping that takes precedence over the file. Default: the environment of the process.
        env_prefix: The prefix of each key in the environment and in the file.
        encoding: The encoding of the file.

    Attributes:
        environ: The mapping that takes precedence over the file.
        env_prefix: The prefix of all keys.
        file_values: The values from the file.

    Raises:
        ValueError: The file can't be decoded.

    >>> config = Config(environ={"APP_DEBUG": "true"}, env_prefix="APP_")
    >>> config("DEBUG", cast=bool, default=False), config("PORT", cast=int, default=8000)
    (True, 8000)
    """

    def __init__(
        self,
        env_file: str | os.PathLike[str] | None = None,
        environ: Mapping[str, str] = environ,
        env_prefix: str = "",
        encoding: str = "utf-8",
    ) -> None:
        self.environ = environ
        self.env_prefix = env_prefix
        self.file_values: dict[str, str] = {}
        self._env_file = env_file
        self._encoding = encoding
        if env_file is not None:
            if os.path.isfile(env_file):
                self.file_values = _read_env_file(env_file, encoding, environ)
            else:
                text = f"Config file '{os.fspath(env_file)}' not found."
                warn_at(user_line(), text, SpicaConfigurationWarning)

    def reload(self) -> None:
        """Read the file again, and allow changes to variables that have been read.

        Use this in programs and tests that change settings on purpose. Earlier results do not change.
        """
        if self._env_file is not None and os.path.isfile(self._env_file):
            self.file_values = _read_env_file(self._env_file, self._encoding, self.environ)
        if isinstance(self.environ, Environ):
            self.environ.forget_reads()

    @overload
    def __call__(self, key: str) -> str: ...

    @overload
    def __call__(self, key: str, *, default: D) -> str | D: ...

    @overload
    def __call__(self, key: str, cast: Callable[[Any], T]) -> T: ...

    @overload
    def __call__(self, key: str, cast: Callable[[Any], T], default: None) -> T | None: ...

    @overload
    def __call__(self, key: str, cast: Callable[[Any], T], default: Any) -> T: ...

    @overload
    def __call__(self, key: str, cast: None = None, default: Any = ...) -> Any: ...

    def __call__(
        self, key: str, cast: Callable[[Any], Any] | None = None, default: Any = undefined
    ) -> Any:
        """Return the value of a setting: see `get`."""
        return self.get(key, cast, default)

    def get(
        self, key: str, cast: Callable[[Any], Any] | None = None, default: Any = undefined
    ) -> Any:
        """Return the value of a setting.

        Args:
            key: The name of the setting, without the prefix.
            cast: A class or function that converts the string, or the default, to the value. For `bool`,
                the string must be true, false, 1 or 0, in upper or lower case.
            default: The value of a missing setting. Without a default, a missing setting is an error.

        Raises:
            KeyError: The setting is missing and has no default.
            ValueError: `cast` failed. The message does not show the string, which may be secret.
        """
        key = self.env_prefix + key
        # The environment may be any mapping. One look-up shows whether it contains the key.
        value = self.environ.get(key, undefined)
        if value is undefined:
            value = self.file_values.get(key, default)
        if value is undefined:
            raise KeyError(f"Config '{key}' is missing, and has no default.")
        if cast is None or value is None:
            return value
        if cast is bool and isinstance(value, str):
            if value.lower() in _BOOLEANS:
                return _BOOLEANS[value.lower()]
            raise ValueError(f"Config '{key}' is not a valid bool: it must be true, false, 1 or 0.")
        _check_cast(key, cast, value)
        try:
            return cast(value)
        except (TypeError, ValueError):
            # The cause would show the value, so it is dropped.
            name = getattr(cast, "__name__", repr(cast))
            raise ValueError(f"Config '{key}' is not a valid {name}.") from None


def _check_cast(key: str, cast: Any, value: Any) -> None:
    """Warn about a cast that would split a string into letters."""
    if isinstance(value, str) and any(cast is each for each in _COLLECTIONS):
        text = (
            f"Config '{key}': cast={cast.__name__} splits a string into letters. "
            "Write cast=CommaSeparatedStrings."
        )
        warn_at(user_line(), text, SpicaConfigurationWarning)


# Quoted values may have several lines. A comment may follow the closing quote.
_QUOTED = re.compile(
    r"""[ \t]*+(?:"((?:[^"\\]|\\.)*+)"|'((?:[^'\\]|\\.)*+)')[ \t]*+(?:\#[^\n]*+)?(?=\n|\Z)""",
    re.DOTALL,
)
_COMMENT = re.compile(r"[ \t]#")
_VARIABLE = r"\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*+)(?::-(?P<default>[^}]*+))?\}"
_IN_DOUBLE_QUOTES = re.compile(r"\\(?P<escaped>.)|" + _VARIABLE, re.DOTALL)
_IN_UNQUOTED = re.compile(_VARIABLE)
_IN_SINGLE_QUOTES = re.compile(r"\\(['\\])")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}


class _EnvFile:
    """Read the assignments of an env file, by the rules that docker compose and python-dotenv share."""

    def __init__(self, path: str | os.PathLike[str], text: str, environ: Mapping[str, str]) -> None:
        self.values: dict[str, str] = {}
        self._path = os.fspath(path)
        self._text = text
        self._environ = environ
        self._line = 1

    def read(self) -> dict[str, str]:
        """Read the whole file, and return the values."""
        text = self._text
        position = 0
        while position < len(text):
            end = text.find("\n", position)
            end = len(text) if end < 0 else end
            line = text[position:end].strip()
            if line and line[0] != "#":
                key, equals, _ = line.partition("=")
                key = _without_export(key.strip())
                if equals and key:
                    start = text.index("=", position) + 1
                    end = self._read_value(key, start, end)
                else:
                    self._warn("the line is not KEY=value and is skipped.")
            self._line += text.count("\n", position, end + 1)
            position = end + 1
        return self.values

    def _read_value(self, key: str, start: int, end: int) -> int:
        """Read the value at ``start`` in a line that ends at ``end``. Return the end of its last line."""
        text = self._text
        quoted = _QUOTED.match(text, start)
        if quoted is not None:
            double, single = quoted.groups()
            if double is not None:
                self.values[key] = _IN_DOUBLE_QUOTES.sub(self._replace, double)
            else:
                self.values[key] = _IN_SINGLE_QUOTES.sub(r"\1", single)
            return quoted.end()
        unquoted = text[start:end]
        if unquoted.lstrip(" \t")[:1] in ('"', "'") and len(unquoted.strip()) > 1:
            # The value may be a secret, so the message does not show it.
            self._warn(
                f"the value of {key!r} begins with a quote that is never closed, or text follows the closing "
                "quote. The quote is part of the value. Close it, or put \\ before quotes inside."
            )
        comment = _COMMENT.search(unquoted)
        if comment is not None:
            unquoted = unquoted[: comment.start()]
        self.values[key] = _IN_UNQUOTED.sub(self._replace, unquoted.strip())
        return end

    def _replace(self, match: re.Match[str]) -> str:
        """Return the replacement for an escape or a ``${NAME}``."""
        found = match.groupdict()
        escaped = found.get("escaped")
        if escaped is not None:
            return _ESCAPES.get(escaped, match[0])
        name, default = found["name"], found["default"]
        value = self._environ.get(name, self.values.get(name))
        if value or default is None:
            if value is None:
                self._warn(f"${{{name}}} is not set and counts as empty.")
            return value or ""
        return default

    def _warn(self, message: str) -> None:
        warn_configuration(f"{self._path}:{self._line}: {message}")


def _without_export(key: str) -> str:
    """Return a key without the leading word ``export`` of shells."""
    if key.startswith(("export ", "export\t")):
        return key[len("export ") :].lstrip()
    return key


def _read_env_file(
    path: str | os.PathLike[str], encoding: str, environ: Mapping[str, str]
) -> dict[str, str]:
    with open(path, encoding=encoding) as file:
        # Some editors write a byte order mark, which does not belong to the first key.
        text = file.read().removeprefix("\ufeff")
    return _EnvFile(path, text, environ).read()
