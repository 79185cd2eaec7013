"""How one step of a flow runs: a DVC stage, the registry, the report."""
