"""From other people's data to contracts: one module per source."""
