"""One run in several processes, the ranks, which torchrun starts.

Every rank loads, exports and quantizes for itself. The evaluation batches are shared out, and so is what a
search for advice measures. Rank 0 puts all together, and has the report of one process, to the bit.
"""
