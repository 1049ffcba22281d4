"""A job: what is to be done on which targets; every revision is kept."""
