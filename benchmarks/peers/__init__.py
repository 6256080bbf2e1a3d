"""What people would use instead, set up as its documentation shows."""
