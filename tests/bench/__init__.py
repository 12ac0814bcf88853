"""Measured claims. Each module here is behind a make target; what it promises is checked there, not in a unit test."""
