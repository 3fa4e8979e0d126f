"""The network as the Graphs tab shows it: a box for every layer, in it the edges and their sums."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from tensorboard.compat.proto.attr_value_pb2 import AttrValue
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.node_def_pb2 import NodeDef
from tensorboard.compat.proto.versions_pb2 import VersionDef

# A layer with more edges is one box that cannot be opened: nobody could tell them apart.
MAX_EDGES = 100
LONGEST = 60  # letters of a name that a box can show
FORMAT = 22  # of the protocol, as torch's own graphs say


def graph(units: Sequence[Sequence[str]], kinds: Sequence[str]) -> GraphDef:
    """Draws what flows where.

    Traced by torch, a network is the operations of its arithmetic, and no edge is to be seen.

    Args:
        units: Names of the inputs, of each layer's hidden units, and of the output.
        kinds: Per layer, what its edges are called.

    Returns:
        TensorFlow's message for a graph, as event files hold it.
    """
    taken: set[str] = set()
    sources = [_free(f"input/{_plain(name)}", taken) for name in units[0]]
    nodes = [NodeDef(name=source, op="Input") for source in sources]
    for number, kind in enumerate(kinds, 1):
        layer, before = f"layer_{number}", [_plain(name) for name in units[number - 1]]
        edges = len(before) * len(units[number])
        if edges > MAX_EDGES:
            inputs, shown = dict.fromkeys(sources), {"edges": AttrValue(i=edges)}
            nodes.append(NodeDef(name=layer, op=kind, input=inputs, attr=shown))
            sources = [layer] * len(units[number])
            continue
        sums = [_free(f"{layer}/{_plain(name)}", taken) for name in units[number]]
        for place in sums:
            names = [_free(f"{place}_of_{name}", taken) for name in before]
            nodes += [
                NodeDef(name=name, op=kind, input=[source])
                for name, source in zip(names, sources, strict=True)
            ]
            nodes.append(NodeDef(name=place, op="Sum", input=names))
        sources = sums
    nodes.append(NodeDef(name="output", op="Output", input=dict.fromkeys(sources)))
    return GraphDef(node=nodes, versions=VersionDef(producer=FORMAT))


def _plain(name: str) -> str:
    """A name without characters that have a meaning in the Graphs tab."""
    plain = re.sub(r"[^\w.]+", "-", name) or "unnamed"
    return plain if len(plain) <= LONGEST else f"{plain[: LONGEST - 1]}…"


def _free(name: str, taken: set[str]) -> str:
    """The name, numbered if it is taken; marks the result as taken."""
    numbered = (f"{name}-{number}" for number in itertools.count(2))
    free = next(one for one in itertools.chain([name], numbered) if one not in taken)
    taken.add(free)
    return free
