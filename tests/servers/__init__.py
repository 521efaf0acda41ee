"""The real servers that the tests run against, and what it takes to run an example DAG."""
