"""Where it runs over history: bronze, silver, quarantine, quality gate, gold."""
