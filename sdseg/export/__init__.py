"""Stage: model folder -> one ONNX graph, TensorRT engines and a Triton repository, each held to the model."""
