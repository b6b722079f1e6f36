"""Views of a report, one module each. A view knows the data of ``handlens.report``, nothing else."""
