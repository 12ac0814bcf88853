"""The report page: one HTML file that a store manager can open anywhere, offline."""
