"""What holds for the whole house, whatever is in its rooms."""
