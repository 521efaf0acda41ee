"""The example DAG of all Pages, on a clock that goes fifteen times as fast where it waits for a limit.

A limit that names no time is waited out in steps of 1, 2, 5, 10 … minutes. Here the first step is the third one, of five
minutes, which is twenty seconds then: less would be less than Airflow takes to let a task go and start it again. The half
minute by which the tasks of one Page come back later than they have to goes by the same clock.
"""

from __future__ import annotations

import runpy
from datetime import timedelta
from pathlib import Path

from airflow_provider_pageconv.dump import engine
from airflow_provider_pageconv.graph import limits, usage

FASTER = 15

usage._SCHEDULE = tuple(timedelta(minutes=minutes) / FASTER for minutes in (5, 10, 20, 30))
limits._JITTER = 30.0 / FASTER
engine.IN_PLACE = timedelta(minutes=1) / FASTER

# Airflow takes the DAG from what it makes while this file is read.
runpy.run_path(str(Path(__file__).parents[3] / "example_dags" / "pageconv_all_pages.py"))
