"""The interface of PyTorch's numeric debugger: handles, loggers, and the comparison of what was logged."""
