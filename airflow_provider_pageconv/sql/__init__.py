"""Views for DuckDB on what an export wrote: text, which needs neither Airflow nor the provider where it is run.

From Python ``duckdb.connect().execute(views("/data/pages"))``, from a shell
``duckdb -init <(python -m airflow_provider_pageconv.sql /data/pages)``.
"""

from __future__ import annotations

import os
import re
from importlib.resources import files

from airflow_provider_pageconv.destinations import without_connection_id

# Of a file address only what names no other machine.
_ROOT = re.compile(r"(?!\s*\Z)(?!file:(?!///))[^\0]+\Z", re.DOTALL)


def views(root: str | os.PathLike[str]) -> str:
    """The SQL that makes the views; what each holds stands in its first lines.

    :param root: of the data set: a path, or an address as the export's ``destination`` has it, connection id and all.
    :raises ValueError: it is neither.
    """
    text = str(root or "")
    if not _ROOT.match(text) or not _is_unicode(text):
        raise ValueError(
            f"root is {root!r}: it takes the root of the data set, such as '/data/pages' or 's3://aws_default@bucket/pages'."
        )
    # As the export does, which takes what follows for the path as it stands, without deciphering any %20.
    path = without_connection_id(text).removeprefix("file://")
    quoted = path.replace("'", "''")
    script = files(__name__).joinpath("duckdb.sql").read_text(encoding="utf-8")
    return f"SET VARIABLE root = '{quoted}';\n\n{script}"


def _is_unicode(text: str) -> bool:
    """Whether a name is text; one that came from a shell in another encoding is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
