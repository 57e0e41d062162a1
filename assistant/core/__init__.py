"""The shared kernel: values, events, errors, commands, paths, files. No torch, no rich."""
