"""Judging a model before it goes live."""
