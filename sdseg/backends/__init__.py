"""Raw images -> probability, whoever computes: PyTorch, ONNX Runtime, OpenVINO, TensorRT."""
