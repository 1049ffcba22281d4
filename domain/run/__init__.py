"""A run: one revision of a job done on many targets, step by step, with one executor holding it at a time."""
