"""What is known of Meta's Graph API; knows neither Airflow nor files."""
