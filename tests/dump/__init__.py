"""What a dump writes, and what it does when it is interrupted."""
