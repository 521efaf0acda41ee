"""DAGs that only the demo of the UI runs. What is worth copying is in `example_dags/`."""
