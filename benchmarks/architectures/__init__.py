"""Architectures that people use, each as small as it can be: as Handlens targets, one a function.

``handlens check benchmarks/architectures/language.py::handlens_bert`` runs one of them. All have random
weights and inputs, drawn from one seed.
"""
