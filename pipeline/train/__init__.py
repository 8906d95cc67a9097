"""Training: one loop, its losses and its checkpoints."""
