"""Real processes, real services, real faults: what holds when roles are killed, services stop and people press Ctrl-C."""
