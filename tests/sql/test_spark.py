"""Spark reads what the page says to ask it with, to the same messages as the views. The long form: `make test-spark`.

Spark has an environment of its own; it needs a Java of 17 or newer.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from tests.conftest import do_without
from tests.servers.installing import from_debian
from tests.sql.by_hand import assert_mixed, by_the_views, plain
from tests.sql.copied import ROOT, block
from tests.sql.story import TEXTS, Story
from tests.versions.run import uv

SPARK = "pyspark==4.3.0"
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has Spark."""
    missing = "" if shutil.which("java") else from_debian("default-jre-headless")
    if missing:
        do_without(f"Spark needs Java: {missing}")
    folder = tmp_path_factory.mktemp("spark") / "venv"
    for command in (
        ("venv", "--python", sys.executable, str(folder)),
        ("pip", "install", "--python", str(folder), SPARK),
    ):
        done = uv(*command)
        assert done.returncode == 0, done.stderr
    return folder / "bin" / "python"


def test_spark_holds_what_the_views_hold(story: Story, spark: Path, tmp_path: Path) -> None:
    """Each message once, at its best, whatever format its day is in, and however its time was written."""
    if story.parquet:
        assert_mixed(story)
    # Its names of files are patterns.
    root = shutil.copytree(story.files.root, tmp_path / "pages")
    code = block("python", "def rows_of_lines").replace(ROOT, str(root)) + block("python", "import SparkSession")
    code += (
        "messages = messages.select('*', F.unix_micros('created_time').alias('us')).drop('created_time', '_fetched_at')\n"
        f"Path({str(tmp_path / 'found.json')!r}).write_text(json.dumps([row.asDict() for row in messages.collect()]))\n"
    )
    (tmp_path / "ask.py").write_text(code, encoding="utf-8")
    settings = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_LOCAL_DIRS": str(tmp_path), "PYSPARK_PYTHON": str(spark)}
    settings["PYSPARK_SUBMIT_ARGS"] = (
        "--conf spark.sql.shuffle.partitions=2 --conf spark.ui.enabled=false pyspark-shell"
    )
    done = subprocess.run(
        [spark, tmp_path / "ask.py"], cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert len(found) == len(story.messages)
    halves = {
        ident for ident, text in zip(story.marked["texts"], TEXTS, strict=True) if "\ufffd" in (TEXTS[text] or "")
    }
    for row in found:
        if row["id"] in halves:  # of which Spark makes question marks
            row["message"] = None
        row["created_time"] = None if row["us"] is None else datetime.fromtimestamp(row["us"] / 1e6, timezone.utc)
    assert sorted(map(plain, found)) == by_the_views(str(root))
