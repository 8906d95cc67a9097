"""edgestill: distil, quantize, compile and verify PyTorch models for edge devices."""
