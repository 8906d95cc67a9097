"""The stage that makes a student from a teacher."""
