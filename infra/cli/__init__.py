"""The command line: a client of the REST contract, and one command a role."""
