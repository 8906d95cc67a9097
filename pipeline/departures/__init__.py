"""Where two models that should agree part: the first layer that computes something else.

`search` compares two ONNX graphs (or PyTorch with its export) layer by layer, `engines` asks a
compiled model, whose layers cannot be run one by one, by bisecting.
"""
