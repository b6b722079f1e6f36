"""What a comparison costs: Handlens beside torchao's numeric debugger and beside running the models.

``python -m benchmarks`` measures everything and prints it; ``workloads`` says on what, ``rows`` how.
"""
