"""The stage that makes what a target's runtime loads."""
