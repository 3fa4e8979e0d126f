"""Solutions that are made of a network: `offset + factor * network(features)`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kan_exp.equations.derivatives import Key, derivative
from kan_exp.equations.features import Features
from kan_exp.errors import KanExpError, listing
from kan_exp.targets import Formula

if TYPE_CHECKING:
    from torch import Tensor

Jets = Mapping[Key, "Tensor"]
KEPT = 8  # sets of points


class Frame:
    """What a network reads, what its outputs are multiplied by, and what is added.

    Where the factor is zero the solution is the offset, whatever the network does.

    Args:
        inputs: Names of the inputs.
        outputs: Names of the unknown functions.
        factor: A formula of the inputs for all functions, or one for each by its name; 1 if not
            given.
        offset: Likewise; 0 if not given.
        features: See `Features`; the network reads the inputs if not given.

    Raises:
        KanExpError: A formula cannot be read, or a name is no unknown function.
    """

    def __init__(
        self,
        inputs: Sequence[str],
        outputs: Sequence[str],
        factor: Any = None,
        offset: Any = None,
        features: Any = None,
    ) -> None:
        self.features = None if features is None else Features(inputs, features)
        self.texts = {
            "factor": _texts("factor", outputs, factor, "1"),
            "offset": _texts("offset", outputs, offset, "0"),
        }
        self.inputs, self.outputs = tuple(inputs), tuple(outputs)
        self._known: dict[Any, tuple[Tensor, tuple[Jets, Jets]]] = {}
        self._factor, self._offset = (
            [Formula(texts[name], inputs, option=f"pde.{part}") for name in outputs]
            for part, texts in self.texts.items()
        )

    def _at(self, x: Tensor, keys: Sequence[Key]) -> tuple[Jets, Jets]:
        """Derivatives of the factor and of the offset; kept for points that come again."""
        from torch._C._functorch import is_functorch_wrapped_tensor

        if is_functorch_wrapped_tensor(x):  # one of many that are mapped over
            return _derivatives(self._factor, x, keys), _derivatives(self._offset, x, keys)
        place = x.data_ptr(), x._version, tuple(x.shape), tuple(keys)
        if place not in self._known:
            made = _derivatives(self._factor, x, keys), _derivatives(self._offset, x, keys)
            while len(self._known) >= KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[place] = (x, made)  # x, so that its place in memory is not used again
        return self._known[place][1]

    def describe(self) -> dict[str, Any]:
        """The arguments in plain containers."""
        features = None if self.features is None else self.features.texts
        names = {"inputs": list(self.inputs), "outputs": list(self.outputs)}
        return {**names, **self.texts, "features": features}

    def values(self, x: Tensor, outputs: Tensor) -> Tensor:
        """The solution at points `(n, in)`, of outputs `(n, out)`."""
        import torch

        factor, offset = (
            torch.stack([formula(x.double()) for formula in part], -1)
            for part in (self._factor, self._offset)
        )
        return (offset + factor * outputs).to(outputs.dtype)

    def jets(self, x: Tensor, jets: Mapping[Key, Tensor], keys: Iterable[Key]) -> dict[Key, Tensor]:
        """Derivatives of the solution, of those of the outputs, each `(..., n, out)`."""
        from kan_exp.layers.jets import closure, leibniz

        needed = closure(keys)
        factor, offset = self._at(x, needed)
        made = leibniz(factor, jets, needed)
        return {key: offset[key] + made.get(key, 0.0) for key in needed}


def read(frame: Frame | None, x: Tensor) -> Tensor:
    """What a network reads at points `(n, in)`."""
    return x if frame is None or frame.features is None else frame.features(x)


def inputs_of(
    frame: Frame | None, x: Tensor, keys: Iterable[Key], mean: Tensor, std: Tensor
) -> dict[Key, Tensor]:
    """Derivatives of what a network reads, standardized, at points `(n, in)`.

    Args:
        frame: Has the features.
        x: The points.
        keys: A closure of derivatives.
        mean, std: Of each column that the network reads.
    """
    from kan_exp.layers.jets import input_jets

    if frame is None or frame.features is None:
        return input_jets((x - mean) / std, 1 / std)
    made = frame.features.jets(x, keys)
    return {key: (values if key else values - mean) / std for key, values in made.items()}


def _derivatives(formulas: Sequence[Formula], x: Tensor, keys: Iterable[Key]) -> dict[Key, Tensor]:
    """Derivatives of formulas at points, `(n, formulas)` each."""
    import torch

    def values(x: Tensor) -> Tensor:
        return torch.stack([formula(x) for formula in formulas], -1)

    return {key: derivative(values, x, key) for key in keys}


def _texts(name: str, outputs: Sequence[str], given: Any, default: str) -> dict[str, str]:
    if given is None or isinstance(given, str | int | float):
        return dict.fromkeys(outputs, default if given is None else str(given))
    if not isinstance(given, Mapping) or not {*given} <= {*outputs}:
        raise KanExpError(
            f"pde.{name} must be a formula, or have one for unknown functions "
            f"({listing(outputs)}), got {given!r}."
        )
    return {output: str(given.get(output, default)) for output in outputs}
