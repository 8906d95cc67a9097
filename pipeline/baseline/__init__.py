"""What was accepted, in a file that is committed with the code, and reports held against it."""
