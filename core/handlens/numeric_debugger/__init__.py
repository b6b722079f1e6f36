"""The interface of PyTorch's numeric debugger: quantization that preserves handles, and loggers."""
