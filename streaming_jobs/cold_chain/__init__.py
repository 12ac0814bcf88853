"""Tells when a freezer or cooler is too warm, or a sensor on it is silent."""
