"""Airflow's UI as a user sees it: a real Airflow, looked at and clicked on in a real browser.

What a new test needs is in `tests/browser/conftest.py`; its docstring says how.
"""
