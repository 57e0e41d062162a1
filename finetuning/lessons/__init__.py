"""Fine-tuning shown in steps: what the base says, what its special tokens do, what the rows become, what the trainer does, a training."""
