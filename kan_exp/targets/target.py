"""A function to learn: a formula, the domain of its points, and the noise on its values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kan_exp.errors import KanExpError, listing, suggest
from kan_exp.targets.formula import Formula, check_names, quote

if TYPE_CHECKING:
    from torch import Generator, Tensor

Pair = tuple[float, float]
MAX_BOUND = 3e38  # points are float32


class Target:
    """A function to learn, with its domain and, where known, the network that it truly is.

    Args:
        formula: The function, such as `"exp(sin(pi*x) + y**2)"`; see `Formula`.
        inputs: Names of the inputs, one per column; by default in the order of the formula.
        domain: Where points are drawn: one (low, high) for all inputs, a list with one pair per
            input, or, in a config file, a mapping from each name to its pair (on the command line
            Hydra does not turn a list into a mapping).
        noise: Standard deviation of the noise on training and validation values, in their units.
            The target itself stays exact.
        components: The true edges, if the formula is a KAN with one unit in every hidden layer. Per
            layer a list of formulas of one variable: first one per input, then exactly one, whose
            variable stands for the sum before it: `[["sin(pi*x)", "y**2"], ["exp(h)"]]`.

    Shape:
        x `(n, in)` -> `(n, 1)`, in the dtype of x.

    Raises:
        KanExpError: An argument breaks its rule; the error names the option to change.
    """

    def __init__(
        self,
        formula: str,
        inputs: Sequence[str] | None = None,
        domain: Sequence[Any] | Mapping[str, Any] = (-1, 1),
        noise: float = 0.0,
        components: Sequence[Sequence[str]] | None = None,
    ) -> None:
        if inputs is not None:
            inputs = check_names(inputs, "target.inputs")
        self.formula = Formula(formula, inputs, option="target.formula")
        self.inputs = self.formula.inputs
        self.domain = _read_domain(domain, self.inputs)
        if not _is_number(noise) or noise < 0:
            raise KanExpError(
                "target.noise must be a standard deviation, a number of at least 0. "
                f"Got {quote(noise)} instead."
            )
        self.noise = float(noise)
        self.components = _read_components(components, self.inputs)

    def sample(self, n: int, generator: Generator) -> Tensor:
        """Draws n points `(n, in)` uniformly from the domain, float32 on the generator's device."""
        import torch

        # In float64, so that only the last step rounds, also in a narrow domain far from zero.
        float64: dict[str, Any] = {"dtype": torch.float64, "device": generator.device}
        low, high = torch.tensor(self.domain, **float64).T
        fraction = torch.rand(n, len(self.inputs), generator=generator, **float64)
        return torch.lerp(low, high, fraction).float()

    def __call__(self, x: Tensor) -> Tensor:
        """The exact values `(n, 1)` at points x `(n, in)`, computed in float64.

        Raises:
            KanExpError: A value is not finite.
        """
        y = self.formula(x.double()).to(x.dtype)
        bad = (~y.isfinite()).nonzero()
        if len(bad):
            row = int(bad[0])
            point = zip(self.inputs, x[row].tolist(), strict=True)
            domain = listing(f"[{low:g}, {high:g}]" for low, high in self.domain)
            raise KanExpError(
                f"target.formula {quote(self.formula.text)} is {y[row].item():g} "
                f"at {listing(f'{name}={value:.4g}' for name, value in point)}: "
                f"change target.domain, now {domain}."
            )
        return y[:, None]

    def true_edges(self, x: Tensor) -> list[Tensor]:
        """The values of the true edges at points x `(n, in)`.

        Returns:
            Per layer of `components`, `(n, in)` for the first and `(n, 1)` for the others; empty if
            the components are not known.

        Raises:
            KanExpError: The components do not compose to the formula.
        """
        import torch

        layers: list[Tensor] = []
        h = x.double()
        for layer in self.components:
            values = torch.stack([edge(h[:, i : i + 1]) for i, edge in enumerate(layer)], dim=1)
            layers.append(values.to(x.dtype))
            h = values.sum(1, keepdim=True)
        # Checked here because only torch can: a new formula may have been set over old components.
        exact = self.formula(x.double())
        if layers and not torch.allclose(h[:, 0], exact, rtol=1e-6, atol=1e-9, equal_nan=True):
            raise KanExpError(
                f"target.components do not compose to target.formula "
                f"{quote(self.formula.text)}: correct them, or set target.components=null"
            )
        return layers

    def __repr__(self) -> str:
        return f"Target({self.formula.text!r}, inputs={self.inputs!r}, domain={self.domain!r})"


def _is_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= MAX_BOUND  # false for NaN as well


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _read_domain(domain: Any, inputs: tuple[str, ...]) -> tuple[Pair, ...]:
    """One (low, high) per input, from any of the three forms of a domain."""
    if isinstance(domain, Mapping):
        if missing := [name for name in inputs if name not in domain]:
            raise KanExpError(
                f"target.domain must have a pair for every input ({listing(inputs)}), "
                f"but {listing(missing)} is missing: add {missing[0]}: [-1, 1], or another pair."
            )
        for name in domain:
            if name not in inputs:
                raise KanExpError(
                    f"target.domain has a pair for {quote(name)}, but the inputs are "
                    f"{listing(inputs)}: remove it.{suggest(str(name), inputs)}"
                )
        return tuple(_read_pair(domain[name], f"target.domain.{name}") for name in inputs)
    if not _is_list(domain) or not any(map(_is_list, domain)):
        return (_read_pair(domain, "target.domain"),) * len(inputs)
    if len(domain) != len(inputs):
        raise KanExpError(
            f"target.domain must have one pair for each of the {len(inputs)} inputs "
            f"({listing(inputs)}), or be a single pair for all. Got {len(domain)} pairs instead."
        )
    return tuple(_read_pair(pair, f"target.domain[{i}]") for i, pair in enumerate(domain))


def _read_pair(pair: Any, option: str) -> Pair:
    if not _is_list(pair) or len(pair) != 2 or not all(map(_is_number, pair)) or pair[0] >= pair[1]:
        raise KanExpError(
            f"{option} must be two finite numbers, low < high, such as [-1, 1]. "
            f"Got {quote(pair)} instead."
        )
    return float(pair[0]), float(pair[1])


def _read_components(components: Any, inputs: tuple[str, ...]) -> tuple[tuple[Formula, ...], ...]:
    """Parses the true edges and checks their numbers."""
    if components is None:
        return ()
    if not _is_list(components) or not all(map(_is_list, components)):
        raise KanExpError(
            "target.components must be null or a list of layers, each a list of formulas, such as "
            f'[["sin(pi*x)", "y**2"], ["exp(h)"]]. Got {quote(components)} instead.'
        )
    layers = []
    for depth, texts in enumerate(components):
        option = f"target.components[{depth}]"
        width = 1 if depth else len(inputs)
        if len(texts) != width:
            rule = "one formula, of the sum before it" if depth else "one formula for each input"
            raise KanExpError(
                f"{option} must have {rule}{'' if depth else f' ({listing(inputs)})'}. "
                f"Got {len(texts)} instead: correct it, or set target.components=null"
            )
        layer = []
        for i, text in enumerate(texts):
            # The first layer may hold a constant: the edge of an input that does not matter.
            edge = Formula(text, None if depth else [inputs[i]], option=f"{option}[{i}]")
            if len(edge.inputs) != 1:
                raise KanExpError(
                    f"{option}[{i}] must be a formula of one variable. "
                    f"Got {quote(edge.text)} of {listing(edge.inputs)} instead."
                )
            layer.append(edge)
        layers.append(tuple(layer))
    return tuple(layers)
