"""Views on what was exported: SQL for DuckDB, and the pages that show how to ask."""
