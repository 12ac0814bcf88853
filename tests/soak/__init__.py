"""`make soak-lake`."""
