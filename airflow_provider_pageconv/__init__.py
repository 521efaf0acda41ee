"""Export the conversations of a Facebook Page or an Instagram professional account with Apache Airflow."""

__version__ = "0.1.0"
