"""Networks without PyTorch: ONNX graphs written from weights, and the libraries that run them."""
