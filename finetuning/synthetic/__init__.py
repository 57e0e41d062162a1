"""Training data that a model writes itself: raw rows, filters, preferences, and the files that are trained on."""
