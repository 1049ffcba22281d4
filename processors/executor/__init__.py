"""Claims runs, plans them and does their steps on targets."""
