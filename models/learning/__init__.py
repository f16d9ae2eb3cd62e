"""From training tables to calibrated models, and from these to ONNX."""
