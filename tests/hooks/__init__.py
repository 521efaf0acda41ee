"""Tests of the way from an Airflow connection to nodes of the Graph API."""
