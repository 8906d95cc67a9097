"""A report as one HTML file that opens offline: drawn here in Python, no script, no library."""

from edgestill.report.html.page import render

__all__ = ["render"]
