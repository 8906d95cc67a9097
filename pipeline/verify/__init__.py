"""The stage that proves accuracy and latency on the target."""
