"""Datasets: generate, validate, look at."""
