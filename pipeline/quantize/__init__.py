"""The stage that makes an int8 ONNX model from a float one."""
