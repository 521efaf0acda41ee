"""What becomes of people in what is exported."""
