"""Models: resolved from a recipe's reference, and those of the presets."""
