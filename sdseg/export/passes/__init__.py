"""Changes to an ONNX graph that leave its numbers as they are."""
