"""Measure what a comparison costs, beside torchao's numeric debugger and beside plain runs of the models.

``python -m benchmarks run`` measures everything and prints it. ``workloads`` lists the models,
``rows`` has the measurements.
"""
