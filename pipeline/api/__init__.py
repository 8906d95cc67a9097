"""The verbs of edgestill, for Python and for the command line."""
