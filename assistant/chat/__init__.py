"""One conversation, its history, and the models that are live."""
