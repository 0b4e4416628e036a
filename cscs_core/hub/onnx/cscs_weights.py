"""The weights of the CSCS networks out of ONNX graphs, under the names of our modules.

The walk goes upwards from the output along the data, looks at no name and accepts nothing that it does not understand:
what it returns computes what the graph computes. Batch norms may have been folded into the layers before them; then the
module's batch norm adds the bias that came of it and changes nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ...models.adapter import IdAdapterConfig
from ...models.aei import AEIConfig
from ...models.iresnet import DEPTHS, IResNetConfig
from .dataflow import Graph, Node, uniform
from .layers import EPS, Layer, State, Unlike, layer, normed

Config = AEIConfig | IResNetConfig | IdAdapterConfig
_Polynomial = dict[tuple[str, ...], float]  # factors, in order, and their coefficient

_SLOPE = 0.1  # of AEI-Net's leaky ReLUs
_LARGEST, _DEEPEST = 12, 8  # an AAD layer needs 6 terms and 4 levels of sums and products


def recognised(graph: Graph) -> tuple[Config, State]:
    """The network in a graph: a configuration, whose type says which it is, and its weights.

    Raises Unlike for every other network.
    """
    try:
        return aei(graph) if _picture(graph) else iresnet(graph)
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError):
        raise Unlike("weights or attributes that do not fit together") from None


# AEI-Net: picture = tanh(blocks(up1(z), maps(target)))


@dataclass(frozen=True)
class _AAD:
    """(1 - M) (ga n + ba) + M (gi n + bi), with n the instance norm of h and M the sigmoid of a convolution of n."""

    h: str
    attributes: str
    identity: str
    layers: dict[str, Layer]


@dataclass(frozen=True)
class _Branch:
    """AAD, ReLU, convolution."""

    aad: _AAD
    convolution: Layer


def aei(graph: Graph) -> tuple[AEIConfig, State]:
    """AEI-Net with an identity of any width. Raises Unlike for every other network."""
    picture = _picture(graph)
    if picture is None:
        raise Unlike("no picture out of a tanh")
    h = graph.made[picture].inputs[0]
    blocks: list[list[_Branch]] = []
    while (start := layer(graph, h)) is None:
        branches, h = _block(graph, h)
        blocks.insert(0, branches)
        if graph.op(h) == "Resize":
            h = _double(graph, h)
    if not start.fits("ConvTranspose", 2, 1, 0):
        raise Unlike("a generator that begins with something else than a transposed convolution of the identity")
    z = graph.flat(start.source)
    state = start.biased("generator.up1")
    maps = []
    for number, branches in enumerate(blocks, 1):
        for index, branch in enumerate(branches, 1):
            name = f"generator.AADBlk{number}"
            for part, found in branch.aad.layers.items():
                state |= found.biased(f"{name}.AAD{index}.{part}")
            state |= branch.convolution.bare(f"{name}.conv{index}")
        if any(branch.aad.identity != z for branch in branches):
            raise Unlike(f"several identities in block {number}")
        maps.append(_same([branch.aad.attributes for branch in branches], f"attribute maps of block {number}"))
    if z not in graph.inputs:
        raise Unlike("an identity that is no input")
    return AEIConfig(start.weight.shape[0]), _attribute_encoder(graph, maps) | state


def _picture(graph: Graph) -> str | None:
    return next((name for name in graph.outputs if graph.op(name) == "Tanh"), None)


def _block(graph: Graph, out: str) -> tuple[list[_Branch], str]:
    """The two branches in a row, the one on the shortcut if there is one, and the value that both begin with."""
    for main, side in _sides(graph, out):
        second = _branch(graph, main)
        first = _branch(graph, second.aad.h) if second else None
        if not first or not second:
            continue
        if side == first.aad.h:
            return [first, second], side
        third = _branch(graph, side)
        if third and third.aad.h == first.aad.h:
            return [first, second, third], third.aad.h
    raise Unlike("a sum that ends no residual block")


def _sides(graph: Graph, out: str) -> Iterator[tuple[str, str]]:
    node = _node(graph, out, "Add")
    yield node.inputs[0], node.inputs[1]
    yield node.inputs[1], node.inputs[0]


def _branch(graph: Graph, out: str) -> _Branch | None:
    found = layer(graph, out)
    if not found or not found.fits("Conv", 3, 1, 1) or graph.op(found.source) != "Relu":
        return None
    return _Branch(_aad(graph, graph.made[found.source].inputs[0]), found)


def _aad(graph: Graph, out: str) -> _AAD:
    sum_ = _polynomial(graph, out)
    factors = {factor for term in sum_ for factor in term}
    n, m = (
        _same([factor for factor in factors if graph.op(factor) == op], op)
        for op in ("InstanceNormalization", "Sigmoid")
    )

    def beside(*others: str, but: str = "") -> str:
        """The factor that a term has besides these."""
        return _same(
            [f for f in factors if f != but and tuple(sorted((f, *others))) in sum_], "factors of an AAD layer"
        )

    ga, ba = beside(n), beside()
    gi, bi = beside(n, m, but=ga), beside(m, but=ba)
    terms = {(ga, n): 1, (ba,): 1, (ga, n, m): -1, (ba, m): -1, (gi, n, m): 1, (bi, m): 1}
    if sum_ != {tuple(sorted(term)): sign for term, sign in terms.items()}:
        raise Unlike("another sum than that of an AAD layer")
    layers = {
        "conv1": _layer(graph, ga, "Conv", 1, 1, 0),
        "conv2": _layer(graph, ba, "Conv", 1, 1, 0),
        "fc1": _layer(graph, gi, "MatMul"),
        "fc2": _layer(graph, bi, "MatMul"),
        "conv_h": _layer(graph, graph.made[m].inputs[0], "Conv", 1, 1, 0),
    }
    attributes, identity = (
        _same([graph.flat(layers[name].source) for name in names], "inputs of an AAD layer")
        for names in (("conv1", "conv2"), ("fc1", "fc2"))
    )
    if layers["conv_h"].source != n:
        raise Unlike("a mask of something else than what it is for")
    node = graph.made[n]
    scale, shift = (uniform(graph.constants.get(name)) for name in node.inputs[1:])
    if (scale, shift) != (1, 0) or not _close(node.attributes.get("epsilon", EPS), EPS):
        raise Unlike("an instance norm with weights of its own")
    return _AAD(node.inputs[0], attributes, identity, layers)


def _polynomial(graph: Graph, name: str, depth: int = 0) -> _Polynomial:
    """A value multiplied out, down to layers and what is neither sum nor product."""
    name = graph.flat(name)
    if name in graph.constants:
        if (number := uniform(graph.constants[name])) is None:
            raise Unlike("a constant picture")
        return {(): number}
    node = graph.made.get(name)
    if node is None or node.op not in ("Add", "Sub", "Mul", "Neg") or layer(graph, name):
        return {(name,): 1.0}
    parts = [_polynomial(graph, source, depth + 1) for source in node.inputs] if depth < _DEEPEST else []
    found: _Polynomial = {}
    if node.op == "Mul":
        left, right = parts or ({}, {})
        terms = [(tuple(sorted(a + b)), x * y) for a, x in left.items() for b, y in right.items()]
    else:
        signs = (-1,) if node.op == "Neg" else (1, -1) if node.op == "Sub" else (1, 1)
        terms = [(term, sign * x) for part, sign in zip(parts, signs, strict=False) for term, x in part.items()]
    for term, number in terms:
        found[term] = found.get(term, 0) + number
    if not parts or len(found) > _LARGEST:
        raise Unlike("longer sums of products than in an AAD layer")
    return {term: number for term, number in found.items() if number}


def _attribute_encoder(graph: Graph, maps: list[str]) -> State:
    """The U that makes the attribute maps, which must be 8 of it and in order."""
    if len(maps) != 8 or _double(graph, maps[7]) != maps[6]:
        raise Unlike(f"{len(maps)} attribute maps, or others than those of the encoder")
    state: State = {}
    skips = []
    for number in range(6, 0, -1):
        joined = _node(graph, maps[number], "Concat")
        if len(joined.inputs) != 2 or joined.attributes.get("axis") not in (1, -3):
            raise Unlike("attribute maps that are not joined from two")
        raised, skip = joined.inputs
        found = _layer(graph, _leaky(graph, raised), "ConvTranspose", 4, 2, 1)
        if found.source != maps[number - 1]:
            raise Unlike("attribute maps in another order")
        state |= found.normed(f"encoder.deconv{number}.deconv", f"encoder.deconv{number}.bn")
        skips.append(skip)  # made by conv1, conv2 ... conv6
    name = maps[0]
    for number in range(7, 0, -1):
        if number < 7 and name != skips[number - 1]:
            raise Unlike("skips to other places")
        found = _layer(graph, _leaky(graph, name), "Conv", 4, 2, 1)
        state |= found.normed(f"encoder.conv{number}.0", f"encoder.conv{number}.1")
        name = found.source
    if name not in graph.inputs:
        raise Unlike("a target that is no input")
    return state


def _leaky(graph: Graph, name: str) -> str:
    node = _node(graph, name, "LeakyRelu")
    if not _close(node.attributes.get("alpha", 0.01), _SLOPE):
        raise Unlike(f"a leaky ReLU of another slope than {_SLOPE}")
    return node.inputs[0]


def _double(graph: Graph, name: str) -> str:
    node = _node(graph, name, "Resize")
    options = (node.attributes.get("mode"), node.attributes.get("coordinate_transformation_mode"))
    if options != ("linear", "align_corners"):
        raise Unlike("another way of enlarging than bilinear, corners on corners")
    return node.inputs[0]


# IResNet and the ID adapter


def iresnet(graph: Graph) -> tuple[IResNetConfig | IdAdapterConfig, State]:
    """IResNet of a depth that we know, or an ID adapter with the 1 x 1 convolution at its end. Raises Unlike for every
    other network."""
    last = layer(graph, graph.flat(_same(list(graph.outputs), "outputs")))
    before = layer(graph, graph.flat(last.source)) if last else None
    fc = before or last
    if not last or not fc or fc.op != "MatMul":
        raise Unlike("no embedding at the end")
    x, norm = normed(graph, graph.flat(fc.source))
    blocks: list[State] = []
    while graph.op(x) == "Add":
        block, x = _bottleneck(graph, x)
        blocks.insert(0, block)
    slope, above = _prelu(graph, x)
    stem = _layer(graph, above, "Conv", 3, 1, 1)
    if not blocks or stem.source not in graph.inputs:
        raise Unlike("other than residual blocks up to a picture")
    state = stem.normed("conv1", "bn1") | {"prelu.weight": slope.expand(stem.outputs)}
    stages: list[int] = []
    for block in blocks:
        if "downsample.0.weight" in block:
            stages.append(0)
        elif not stages:
            raise Unlike("a first block without a stride")
        state |= {f"layer{len(stages)}.{stages[-1]}.{name}": value for name, value in block.items()}
        stages[-1] += 1
    depth = next((depth for depth, counts in DEPTHS.items() if list(counts) == stages), None)
    if depth is None:
        raise Unlike(f"{' + '.join(map(str, stages))} residual blocks")
    state |= norm.state("bn2", blocks[-1]["conv2.weight"].shape[0])
    state |= {"fc.weight": fc.weight, "fc.bias": fc.bias.expand(fc.outputs), **fc.norm.state("features", fc.outputs)}
    if not before:
        return IResNetConfig(depth, fc.outputs), state
    if last.kernel not in (0, 1):  # a product or a 1 x 1 convolution
        raise Unlike("a convolution of the embedding with its neighbours")
    block = last.biased("adapter_block")
    weight = block["adapter_block.weight"].reshape(last.outputs, -1, 1)
    return IdAdapterConfig("add", depth, fc.outputs), state | block | {"adapter_block.weight": weight}


def _bottleneck(graph: Graph, out: str) -> tuple[State, str]:
    """A residual block's weights, and the value that it begins with."""
    for main, side in _sides(graph, out):
        second = layer(graph, main)
        if not second or second.kernel != 3 or graph.op(second.source) != "PRelu":
            continue
        slope, above = _prelu(graph, second.source)
        first = _layer(graph, above, "Conv", 3, 1, 1)
        x, norm = normed(graph, first.source)
        state = norm.state("bn1", first.weight.shape[1]) | first.normed("conv1", "bn2")
        state |= {"prelu.weight": slope.expand(first.outputs)} | second.normed("conv2", "bn3")
        if side != x:
            down = _layer(graph, side, "Conv", 1, 2, 0)
            state |= down.normed("downsample.0", "downsample.1")
            side = down.source
        if side == x and second.fits("Conv", 3, 2 if "downsample.0.weight" in state else 1, 1):
            return state, x
    raise Unlike("a sum that ends no residual block")


def _prelu(graph: Graph, name: str) -> tuple[Tensor, str]:
    """The slopes and what they are applied to."""
    node = _node(graph, name, "PRelu")
    if (slope := graph.constants.get(node.inputs[1])) is None:
        raise Unlike("slopes that are no constants")
    return slope.float().flatten(), node.inputs[0]


# What has to be there


def _node(graph: Graph, name: str, op: str) -> Node:
    if graph.op(name) != op:
        raise Unlike(f"{graph.op(name) or 'an input or a constant'} in place of {op}")
    return graph.made[name]


def _layer(graph: Graph, name: str, op: str, kernel: int = 0, stride: int = 1, pad: int = 0) -> Layer:
    found = layer(graph, name)
    if not found or not found.fits(op, kernel, stride, pad):
        raise Unlike(f"another layer in place of a {op}{f' {kernel} x {kernel}' if kernel else ''}")
    return found


def _same(names: list[str], what: str) -> str:
    if len(set(names)) != 1:
        raise Unlike(f"{len(set(names))} {what} in place of one")
    return names[0]


def _close(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 1e-3 * wanted
