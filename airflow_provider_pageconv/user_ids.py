"""People as a task names them: ids that are shown nowhere, or the path of one list of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from airflow_provider_pageconv.compat import AirflowException
from airflow_provider_pageconv.parameters import ParameterError, UserIds, is_id_of_a_person, no_file_system

_COMMENT = re.compile(r"#.*")


def read_user_ids(name: str, value: UserIds | str, otherwise: str = "") -> frozenset[str]:
    """The ids that a checked parameter names, those of a list read now.

    A list is a text file in UTF-8, one id a line; empty lines count as none, and so does what follows a ``#``.

    :param name: of the parameter, for the sentence.
    :param value: as :func:`~airflow_provider_pageconv.parameters.user_ids` left it.
    :param otherwise: what the parameter takes in place of a list that holds nobody.
    :raises ParameterError: the list cannot be read, holds no id, or something that is none.
    :raises AirflowException: the store that holds it does not answer.
    """
    if isinstance(value, UserIds):
        return frozenset(map(str, value.values))
    ids = frozenset(_ids(name, value, _lines(name, value)))
    if not ids:
        raise ParameterError(f"{name} is {value!r}, which holds no id: it takes one a line{otherwise}.")
    return ids


def _lines(name: str, path: str) -> list[str]:
    """The lines of a list.

    :raises ParameterError: it cannot be read.
    """
    from airflow.sdk import ObjectStoragePath

    try:
        listed = ObjectStoragePath(path)
        read: bytes = listed.fs.cat_file(listed.path)
        return read.decode("utf-8-sig").splitlines()
    except ValueError as error:
        if isinstance(error, UnicodeDecodeError):
            raise ParameterError(f"{name} is {path!r}, which is no text in UTF-8.") from None
        raise no_file_system(path, error, name) from None
    except (FileNotFoundError, IsADirectoryError):
        raise ParameterError(f"{name} is {path!r}, which cannot be read: no file is there.") from None
    except PermissionError:
        raise ParameterError(f"{name} is {path!r}, which cannot be read: it is not allowed to.") from None
    except Exception as error:  # noqa: BLE001 - each store has errors of its own, and another try may help
        raise AirflowException(f"{name} is {path!r}, which could not be read: {type(error).__name__}.") from None


def _ids(name: str, path: str, lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not (text := _COMMENT.sub("", line).strip()):
            continue
        if not is_id_of_a_person(text):
            # What stands there may name somebody.
            raise ParameterError(
                f"{name} is {path!r}, whose line {number} is no id of a person: it takes digits alone."
            )
        yield text
