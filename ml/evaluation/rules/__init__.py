"""Rules of the gate, a file for each kind: evidence in, results out."""
