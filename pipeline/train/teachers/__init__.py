"""Teachers: a model, a recording of one, an ONNX file, a function, several of them together."""
