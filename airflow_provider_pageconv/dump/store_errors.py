"""What a store says when it does not do what it is asked to, in one sentence, whichever store it is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_MOST = 200
"""Characters of what a store says itself."""

_WRONG_KEY = "the key is wrong, or not known there"
_NOT_ALLOWED = "the key may not do that"
_MEANINGS = {
    "InvalidAccessKeyId": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_KEY,
    "AuthenticationFailed": _WRONG_KEY,
    "InvalidAuthenticationInfo": _WRONG_KEY,
    "401": _WRONG_KEY,
    "AccessDenied": _NOT_ALLOWED,
    "AuthorizationFailure": _NOT_ALLOWED,
    "AuthorizationPermissionMismatch": _NOT_ALLOWED,
    "InsufficientAccountPermissions": _NOT_ALLOWED,
    "403": _NOT_ALLOWED,
}
_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"}


class StoreError(OSError):
    """The destination does not do what it is asked to; the sentence says what, which file, and what the store said."""


class NoSuchBucketError(StoreError):
    """There is no such bucket, or container: no further try can help before somebody makes it."""


@contextlib.contextmanager
def told(doing: str, *passed_on: type[Exception]) -> Iterator[None]:
    """Say in a sentence what a store would not do.

    :param doing: "write bucket/key", for one.
    :param passed_on: errors that mean something to who asks.
    :raises NoSuchBucketError: there is no such bucket.
    :raises StoreError: anything else.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as error:
        code, said = _told_by_store(error)
        if code in _NO_BUCKET:
            raise no_such_bucket(doing) from error
        if isinstance(error, passed_on):
            raise
        meaning = _MEANINGS.get(code)
        reason = f"{meaning} ({code})" if meaning else f"{said} ({code})" if code and code not in said else said
        raise StoreError(f"Cannot {doing}: {reason}") from error


def no_such_bucket(doing: str) -> NoSuchBucketError:
    """What to raise where there is none."""
    bucket = doing.partition(" ")[2].partition("/")[0]
    return NoSuchBucketError(f"Cannot {doing}: there is no bucket {bucket!r}, make it first")


def _told_by_store(error: BaseException) -> tuple[str, str]:
    """The code and the words of the store itself, which its file system may have hidden among the causes."""
    one: BaseException | None = error
    while one is not None:
        answer: Any = getattr(one, "response", None)
        if isinstance(answer, dict) and isinstance(answer.get("Error"), dict):  # botocore
            return str(answer["Error"].get("Code") or ""), _line(answer["Error"].get("Message"), one)
        if getattr(one, "error_code", None):  # azure.core; an enum of texts
            return str(getattr(one.error_code, "value", one.error_code)), _line(getattr(one, "message", None), one)  # type: ignore[attr-defined]
        if isinstance(getattr(one, "code", None), int) and hasattr(one, "message"):  # gcsfs
            return str(one.code), _line(one.message, one)  # type: ignore[attr-defined]
        one = one.__cause__
    words = str(error)
    if words.startswith("Forbidden: "):  # gcsfs; the address stands on the first line
        return "403", _line(words.partition("\n")[2], error)
    return "", _line(getattr(error, "strerror", None) or words.removeprefix("Bad Request: "), error)


def _line(words: object, error: BaseException) -> str:
    """The first line of what was said; the name of the error where nothing was."""
    lines = str(words or "").strip().splitlines()
    return lines[0][:_MOST] if lines and lines[0] != "None" else type(error).__name__
