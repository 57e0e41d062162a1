"""The offline side of PZ2: datasets, training, evaluation. It emits events and draws nothing."""
