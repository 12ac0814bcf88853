"""How events get in: adapters -> gate -> sinks. Inbound only."""
