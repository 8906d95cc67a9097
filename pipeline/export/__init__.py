"""The stage that makes ONNX from PyTorch."""
