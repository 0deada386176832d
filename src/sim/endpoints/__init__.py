"""Model endpoints: servers whose speed falls with load, limits that refuse, clients that wait."""
