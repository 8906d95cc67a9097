"""Recipes that work as they are: `edgestill run digits`."""
