"""The reference implementation's T: a module, pickled whole."""

import warnings

import torch

from official.base import stub_modules


class WalkLinearMultiW(torch.nn.Module):
    def __init__(self, w):
        super().__init__()
        self.dim_z, self.step = w.shape[2], w.shape[1] // 2 - 1
        self.w = torch.nn.Parameter(w)


def save_walk(path, w, *, zipped=False):
    """torch.save(self.walk): a whole module, in the reference's time in the older format."""
    with stub_modules(graphs__stylegan_v2_real__transform_base={"WalkLinearMultiW": WalkLinearMultiW}):
        with warnings.catch_warnings(action="ignore"):  # the class's source code, which torch would add
            torch.save(WalkLinearMultiW(w), path, _use_new_zipfile_serialization=zipped)
