"""Tests of what this package knows of the Graph API: pure functions, and one client against real sockets."""
