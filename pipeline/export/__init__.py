"""Stage `export`: the trained models as ONNX."""
