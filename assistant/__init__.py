"""The live side of PZ2: it answers."""
