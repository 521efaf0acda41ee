"""Tests of the sandbox: that it speaks Meta's dialect, and that what is ordered of it happens."""
