"""Data: sources, splits, and the arrays that models are fed."""
