"""What is raised for a form that a client sent wrong, or that goes over a limit."""


class MultiPartException(Exception):
    """Report that a form cannot be parsed, or is larger than a limit allows.

    `message` may be shown to the client. `status_code` is the answer it deserves: 400, or 413 when
    a limit on headers was passed. (Limits on fields, files and part sizes answer 400, which is what
    programs written for Starlette expect.)
    """

    def __init__(self, message: str, status_code: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code

    def __reduce__(self) -> tuple[type["MultiPartException"], tuple[str, int]]:
        return type(self), (self.message, self.status_code)


def too_many(what: str, limit: int | float) -> MultiPartException:
    """Build the error for too many fields, or files."""
    return MultiPartException(f"Too many {what}. Maximum number of {what} is {limit}.")


def too_large(what: str, limit: int) -> MultiPartException:
    """Build the error for a part, or a field, of more than `limit` bytes."""
    size = f"{limit // 1024}KB" if limit >= 1024 and limit % 1024 == 0 else f"{limit} bytes"
    return MultiPartException(f"{what} exceeded maximum size of {size}.")
