"""From the Graph API's nodes to files in a destination; knows neither Airflow nor HTTP."""
