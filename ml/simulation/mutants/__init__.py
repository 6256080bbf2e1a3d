"""Models and conditions with one seeded fault each, and good ones, for the gate to tell apart."""
