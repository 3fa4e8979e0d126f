"""The network in the Graphs tab: a box for every layer with its edges and their sums."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.versions_pb2 import VersionDef

MAX_EDGES = 100  # a layer with more is one box that cannot be opened
MAX_LENGTH = 60  # letters of a name that a box can show
PRODUCER = 22  # version of the protocol, as in torch's own graphs


def graph(units: Sequence[Sequence[str]], kinds: Sequence[str]) -> GraphDef:
    """The graph of a network; traced by torch, it would show operations instead of edges.

    `units` are the names of the inputs, of each layer's hidden units and of the output, `kinds` the
    kind of each layer's edges.
    """
    taken: set[str] = set()
    sources = [_unused(f"input/{_plain(name)}", taken) for name in units[0]]
    nodes = [NodeDef(name=source, op="Input") for source in sources]
    for number, kind in enumerate(kinds, 1):
        layer, inputs = f"layer_{number}", [_plain(name) for name in units[number - 1]]
        edges = len(inputs) * len(units[number])
        if edges > MAX_EDGES:
            attributes = {"edges": AttrValue(i=edges)}
            nodes.append(
                NodeDef(name=layer, op=kind, input=dict.fromkeys(sources), attr=attributes)
            )
            sources = [layer] * len(units[number])
            continue
        sums = [_unused(f"{layer}/{_plain(name)}", taken) for name in units[number]]
        for unit in sums:
            names = [_unused(f"{unit}_of_{name}", taken) for name in inputs]
            for name, source in zip(names, sources, strict=True):
                nodes.append(NodeDef(name=name, op=kind, input=[source]))
            nodes.append(NodeDef(name=unit, op="Sum", input=names))
        sources = sums
    nodes.append(NodeDef(name="output", op="Output", input=dict.fromkeys(sources)))
    return GraphDef(node=nodes, versions=VersionDef(producer=PRODUCER))


def _plain(name: str) -> str:
    """A name without characters that have a meaning in the Graphs tab."""
    plain = re.sub(r"[^\w.]+", "-", name) or "unnamed"
    return plain if len(plain) <= MAX_LENGTH else f"{plain[: MAX_LENGTH - 1]}…"


def _unused(name: str, taken: set[str]) -> str:
    """The name, numbered if it is taken; adds the result to `taken`."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    unused = next(n for n in itertools.chain([name], numbered) if n not in taken)
    taken.add(unused)
    return unused
