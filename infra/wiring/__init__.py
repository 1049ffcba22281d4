"""Puts the house together: settings, which adapter stands behind which port, and what runs in one process."""
