"""What the command line knows of alerts: where they are read, how they are told, how commands are given."""
