"""Peak memory of tensors, counted operation by operation.

It is exact on any machine and for any device, `meta` included.
"""

import weakref

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operations inside the `with` make and that still live; `peak` is the
    most at once.

    What lives before is not counted, nor what a kernel needs inside itself.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {storage._cdata for storage in _storages((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for storage in _storages(out):
            if storage._cdata not in given:
                self._add(storage)
        return out

    def forget(self, tensor: Tensor) -> None:
        """Leave out a tensor's memory, which is not where the others' is."""
        self._remove(tensor.untyped_storage()._cdata, tensor.untyped_storage().nbytes())

    def _add(self, storage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        if key in self._known:
            self._known.discard(key)
            self.now -= size


def _storages(tree: object) -> list:
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
