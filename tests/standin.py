"""A device for tests: computes as the CPU does, and refuses to mix its tensors with the CPU's.

Code that leaves a tensor on the wrong device fails here as it would on a GPU, on machines without
one. The device is PyTorch's `PrivateUse1` with a kernel for every operator: it runs the CPU's
kernel on the same memory. As on a GPU, tensors without dimensions may come from the CPU.

It is registered when this module is imported, which is when tests are collected: autograd starts
its threads at the first gradient, one for each device that is known by then. A process can have one
such backend, and not lose it again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import Tensor
from torch.utils import backend_registration

NAME = "standin"


def standin() -> torch.device:
    """The device; skips the test where torch cannot have it."""
    if not IS_THERE:
        pytest.skip("this version of torch has no backends in Python")
    return torch.device(NAME, 0)


class Strategy(SingleDeviceStrategy):
    """Trains on the device, with Lightning's own way of moving things."""

    def __init__(self) -> None:
        super().__init__(standin(), _Accelerator())


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        assert device.type == NAME


class _Module:
    """What torch asks a backend; it is not offered to those who look for an accelerator."""

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return False

    def current_device(self) -> int:
        return 0

    def _is_in_bad_fork(self) -> bool:
        return False

    def manual_seed_all(self, seed: int) -> None:
        pass

    def device_count(self) -> int:
        return 1


class _Hook(torch._C._acc.PrivateUse1Hooks if hasattr(torch._C, "_acc") else object):
    def is_available(self) -> bool:
        return False

    def has_primary_context(self, _: int) -> bool:
        return True

    def is_built(self) -> bool:
        return True


_library = torch.library.Library("_", "IMPL")
_aten = torch.library.Library("aten", "IMPL")
_set = torch.ops.aten.set_.source_Storage_storage_offset
_as_strided = torch.ops.aten.as_strided.default
_clone_storage = torch.UntypedStorage.clone


class Count:
    """Counts what a GPU would do: kernels that are launched, and waits of the host for the device.

    The host waits for copies from the device, and for those to it that are not `non_blocking`, of
    which operators make some: to read a number, find the places of a mask, or check for errors.
    """

    def __init__(self) -> None:
        self.kernels = self.waits = 0

    def __enter__(self) -> Count:
        _counts.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _counts.remove(self)

    def see(self, operator: Any, name: str, args: tuple[Any, ...]) -> None:
        self.kernels += not (operator.is_view or name.startswith("aten::empty"))
        self.waits += name in WAITS
        if name == "aten::_copy_from":
            source, target, *rest = args
            self.waits += source.device != target.device and not any(rest)
        if name in INDEXED:
            places = [place for place in args[1] if place is not None]
            self.waits += any(not _is_ours(one) or one.dtype == torch.bool for one in places)


_counts: list[Count] = []
WAITS = {"aten::_local_scalar_dense", "aten::_linalg_check_errors", "aten::_unique2"}
WAITS |= {"aten::equal", "aten::masked_select", "aten::nonzero"}
INDEXED = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


def _is_ours(value: Any) -> bool:
    return isinstance(value, Tensor) and value.device.type == NAME


def _on_cpu(call: Any, *args: Any) -> Tensor:
    """Runs an operator's CPU kernel on tensors of the device: one that only changes views."""
    return call.redispatch(torch._C.DispatchKeySet(torch._C.DispatchKey.CPU), *args)


def _storage(held: torch.UntypedStorage) -> torch.UntypedStorage:
    """A storage of the device with the memory of one of the CPU, which it keeps alive."""
    make = torch._C._construct_storage_from_data_pointer
    storage = make(held.data_ptr(), torch.device(NAME, 0), held.nbytes())
    storage.held = held
    return storage


def _clone(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    if storage.device.type != NAME:
        return _clone_storage(storage)
    return _storage(storage.held.clone())


def _wrap(raw: Tensor) -> Tensor:
    empty = torch._C._acc.create_empty_tensor((0,), raw.dtype)
    storage = _storage(raw.untyped_storage())
    return _on_cpu(_set, empty, storage, raw.storage_offset(), raw.size(), raw.stride())


def _unwrap(tensor: Tensor) -> Tensor:
    held = tensor.untyped_storage().held
    empty = torch.empty(0, dtype=tensor.dtype, device="cpu")
    return empty.set_(held, tensor.storage_offset(), tensor.size(), tensor.stride())


def _kernel(operator: Any, *args: Any, **options: Any) -> Any:
    """Runs any operator on the CPU's view of its arguments."""
    name = operator._schema.name
    for count in _counts:
        count.see(operator, name, args)
    if operator is _set:
        return _on_cpu(_set, *args)
    if name == "aten::_efficientzerotensor":
        return _wrap(torch.zeros(args[0], dtype=options.get("dtype"), device="cpu"))
    if name == "aten::_copy_from":  # between devices, in either direction
        source, target = (_unwrap(one) if _is_ours(one) else one for one in args[:2])
        target.copy_(source)
        return args[1]
    pairs: list[tuple[Tensor, Tensor]] = []

    def raw(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        if not isinstance(leaf, Tensor):
            return leaf
        if not _is_ours(leaf):
            if leaf.ndim:
                raise RuntimeError(
                    f"Expected all tensors to be on the same device, but {name} got {NAME} and "
                    f"{leaf.device}."
                )
            return leaf
        pairs.append((_unwrap(leaf), leaf))
        return pairs[-1][0]

    args, options = _each(raw, args), {key: _each(raw, one) for key, one in options.items()}
    same = {id(one): leaf for one, leaf in pairs}
    memory = {one.untyped_storage()._cdata: leaf for one, leaf in pairs}

    def back(found: Any) -> Any:
        if not isinstance(found, Tensor):
            return found
        if id(found) in same:  # it was written to, and perhaps resized
            given = same[id(found)]
            if given.shape != found.shape or given.stride() != found.stride():
                given.data = _wrap(found)
            return given
        base = memory.get(found.untyped_storage()._cdata)
        if base is None or base.dtype != found.dtype:
            return _wrap(found)
        view = found.size(), found.stride(), found.storage_offset()
        return _on_cpu(_as_strided, base, *view)

    return _each(back, operator(*args, **options))


def _each(change: Callable[[Any], Any], values: Any) -> Any:
    """Arguments or results, of which some are lists, with each value changed."""
    if isinstance(values, tuple | list):
        return type(values)([_each(change, one) for one in values])
    return change(values)


def _register() -> bool:
    register = getattr(backend_registration, "_setup_privateuseone_for_python_backend", None)
    if register is None:
        return False
    register(NAME, _Module(), _Hook())
    _library.fallback(_kernel, "PrivateUse1")
    # Torch would make this of one with an output of the wrong shape, and warn.
    loss = functools.partial(_kernel, torch.ops.aten.mse_loss.default)
    _aten.impl("mse_loss", loss, "PrivateUse1")
    torch.UntypedStorage.clone = _clone
    return True


IS_THERE = _register()
