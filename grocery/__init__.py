"""The door to the system: command line, settings, local stack, store simulator."""
