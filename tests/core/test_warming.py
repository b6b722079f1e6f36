"""What a worker does before its first run leaves nothing behind that a run could notice."""

import threading

import torch

from handlens.warming import warm_up


def test_warming_up_uses_no_random_number_and_leaves_no_thread_behind():
    threads, state, count = threading.enumerate(), torch.get_rng_state(), torch.get_num_threads()
    warm_up()
    assert set(threading.enumerate()) <= set(threads)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == count
