"""Models to and from other programs: safetensors, ONNX, PyTorch.

None of these libraries is imported before it is asked for.
"""
