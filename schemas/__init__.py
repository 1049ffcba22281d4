"""What crosses a process boundary, and the contract of the log that carries it."""
