"""One suite a port, run on every adapter: what the port's docstrings promise is checked here."""
