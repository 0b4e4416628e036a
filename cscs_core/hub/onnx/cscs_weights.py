"""Reads the weights of the CSCS networks from ONNX graphs, under the names of our modules.

The search walks from the output back to the inputs, ignores names, and rejects every structure it does not know, so
the weights it returns compute what the graph computes. If batch norms were folded into the layers before them, the
module's batch norm only adds the resulting bias.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ...models.adapter import IdAdapterConfig
from ...models.aei import AEIConfig
from ...models.graph import Node
from ...models.iresnet import DEPTHS, IResNetConfig
from .dataflow import Graph, uniform
from .layers import EPS, Layer, State, Unlike, layer, normed

Config = AEIConfig | IResNetConfig | IdAdapterConfig
_Polynomial = dict[tuple[str, ...], float]  # factors, in order, and their coefficient

_SLOPE = 0.1  # of AEI-Net's leaky ReLUs
_LARGEST, _DEEPEST = 12, 8  # an AAD layer needs 6 terms and 4 levels of sums and products


def recognised(graph: Graph) -> tuple[Config, State]:
    """The network in a graph: its configuration, whose type tells the architecture, and its weights.

    Raises Unlike for any other network.
    """
    try:
        return aei(graph) if _picture(graph) else iresnet(graph)
    except (ValueError, TypeError, AttributeError, LookupError, RuntimeError):
        raise Unlike("inconsistent weights or attributes") from None


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
    """AEI-Net, for identities of any width. Raises Unlike for any other network."""
    picture = _picture(graph)
    if picture is None:
        raise Unlike("no image output from a tanh")
    h = graph.made[picture].inputs[0]
    blocks: list[list[_Branch]] = []
    while (start := layer(graph, h)) is None:
        branches, h = _block(graph, h)
        blocks.insert(0, branches)
        if graph.op(h) == "Resize":
            h = _double(graph, h)
    if not start.fits("ConvTranspose", 2, 1, 0):
        raise Unlike("a generator that does not start with a transposed convolution of the identity")
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
            raise Unlike(f"different identities in block {number}")
        maps.append(_same([branch.aad.attributes for branch in branches], f"attribute maps of block {number}"))
    if z not in graph.inputs:
        raise Unlike("an identity that is not an input")
    return AEIConfig(start.weight.shape[0]), _attribute_encoder(graph, maps) | state


def _picture(graph: Graph) -> str | None:
    return next((name for name in graph.outputs if graph.op(name) == "Tanh"), None)


def _block(graph: Graph, out: str) -> tuple[list[_Branch], str]:
    """The two branches of the main path, the shortcut's branch if it has one, and the block's input."""
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
    raise Unlike("a sum that is not the end of a residual block")


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
        """The remaining factor of the term that has these."""
        return _same(
            [f for f in factors if f != but and tuple(sorted((f, *others))) in sum_], "factors of an AAD layer"
        )

    ga, ba = beside(n), beside()
    gi, bi = beside(n, m, but=ga), beside(m, but=ba)
    terms = {(ga, n): 1, (ba,): 1, (ga, n, m): -1, (ba, m): -1, (gi, n, m): 1, (bi, m): 1}
    if sum_ != {tuple(sorted(term)): sign for term, sign in terms.items()}:
        raise Unlike("a sum that is not an AAD layer's")
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
        raise Unlike("a mask computed from other features than it blends")
    node = graph.made[n]
    scale, shift = (uniform(graph.constants.get(name)) for name in node.inputs[1:])
    if (scale, shift) != (1, 0) or not _close(node.attributes.get("epsilon", EPS), EPS):
        raise Unlike("an instance norm with learned weights")
    return _AAD(node.inputs[0], attributes, identity, layers)


def _polynomial(graph: Graph, name: str, depth: int = 0) -> _Polynomial:
    """A value multiplied out, down to layers and anything else that is neither a sum nor a product."""
    name = graph.flat(name)
    if name in graph.constants:
        if (number := uniform(graph.constants[name])) is None:
            raise Unlike("a constant feature map")
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
        raise Unlike("more terms or levels than an AAD layer has")
    return {term: number for term, number in found.items() if number}


def _attribute_encoder(graph: Graph, maps: list[str]) -> State:
    """The U-Net that makes the attribute maps, of which there must be 8, in order."""
    if len(maps) != 8 or _double(graph, maps[7]) != maps[6]:
        raise Unlike(f"{len(maps)} attribute maps, or not those of the encoder")
    state: State = {}
    skips = []
    for number in range(6, 0, -1):
        joined = _node(graph, maps[number], "Concat")
        if len(joined.inputs) != 2 or joined.attributes.get("axis") not in (1, -3):
            raise Unlike("attribute maps that are not concatenated from two")
        raised, skip = joined.inputs
        found = _layer(graph, _leaky(graph, raised), "ConvTranspose", 4, 2, 1)
        if found.source != maps[number - 1]:
            raise Unlike("attribute maps in another order")
        state |= found.normed(f"encoder.deconv{number}.deconv", f"encoder.deconv{number}.bn")
        skips.append(skip)  # outputs of conv1, conv2 ... conv6
    name = maps[0]
    for number in range(7, 0, -1):
        if number < 7 and name != skips[number - 1]:
            raise Unlike("skip connections to other levels")
        found = _layer(graph, _leaky(graph, name), "Conv", 4, 2, 1)
        state |= found.normed(f"encoder.conv{number}.0", f"encoder.conv{number}.1")
        name = found.source
    if name not in graph.inputs:
        raise Unlike("a target that is not an input")
    return state


def _leaky(graph: Graph, name: str) -> str:
    node = _node(graph, name, "LeakyRelu")
    if not _close(node.attributes.get("alpha", 0.01), _SLOPE):
        raise Unlike(f"a leaky ReLU whose slope is not {_SLOPE}")
    return node.inputs[0]


def _double(graph: Graph, name: str) -> str:
    node = _node(graph, name, "Resize")
    options = (node.attributes.get("mode"), node.attributes.get("coordinate_transformation_mode"))
    if options != ("linear", "align_corners"):
        raise Unlike("an upsampling that is not bilinear with aligned corners")
    return node.inputs[0]


# IResNet and the ID adapter


def iresnet(graph: Graph) -> tuple[IResNetConfig | IdAdapterConfig, State]:
    """IResNet of a known depth, or an ID adapter, which ends in a 1 x 1 convolution. Raises Unlike for any other
    network."""
    last = layer(graph, graph.flat(_same(list(graph.outputs), "outputs")))
    before = layer(graph, graph.flat(last.source)) if last else None
    fc = before or last
    if not last or not fc or fc.op != "MatMul":
        raise Unlike("no embedding as its output")
    x, norm = normed(graph, graph.flat(fc.source))
    blocks: list[State] = []
    while graph.op(x) == "Add":
        block, x = _bottleneck(graph, x)
        blocks.insert(0, block)
    slope, above = _prelu(graph, x)
    stem = _layer(graph, above, "Conv", 3, 1, 1)
    if not blocks or stem.source not in graph.inputs:
        raise Unlike("something other than residual blocks after the image")
    state = stem.normed("conv1", "bn1") | {"prelu.weight": slope.expand(stem.outputs)}
    stages: list[int] = []
    for block in blocks:
        if "downsample.0.weight" in block:
            stages.append(0)
        elif not stages:
            raise Unlike("a first block without downsampling")
        state |= {f"layer{len(stages)}.{stages[-1]}.{name}": value for name, value in block.items()}
        stages[-1] += 1
    depth = next((depth for depth, counts in DEPTHS.items() if list(counts) == stages), None)
    if depth is None:
        raise Unlike(f"{' + '.join(map(str, stages))} residual blocks")
    state |= norm.state("bn2", blocks[-1]["conv2.weight"].shape[0])
    state |= {"fc.weight": fc.weight, "fc.bias": fc.bias.expand(fc.outputs), **fc.norm.state("features", fc.outputs)}
    if not before:
        return IResNetConfig(depth, fc.outputs), state
    if last.kernel not in (0, 1):  # a matrix product or a 1 x 1 convolution
        raise Unlike("a convolution over several numbers of the embedding")
    block = last.biased("adapter_block")
    weight = block["adapter_block.weight"].reshape(last.outputs, -1, 1)
    return IdAdapterConfig("add", depth, fc.outputs), state | block | {"adapter_block.weight": weight}


def _bottleneck(graph: Graph, out: str) -> tuple[State, str]:
    """A residual block's weights, and its input."""
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
    raise Unlike("a sum that is not the end of a residual block")


def _prelu(graph: Graph, name: str) -> tuple[Tensor, str]:
    """The slopes, and the value that they are applied to."""
    node = _node(graph, name, "PRelu")
    if (slope := graph.constants.get(node.inputs[1])) is None:
        raise Unlike("slopes that are not constants")
    return slope.float().flatten(), node.inputs[0]


# Required nodes and layers


def _node(graph: Graph, name: str, op: str) -> Node:
    if graph.op(name) != op:
        raise Unlike(f"{graph.op(name) or 'an input or a constant'} instead of {op}")
    return graph.made[name]


def _layer(graph: Graph, name: str, op: str, kernel: int = 0, stride: int = 1, pad: int = 0) -> Layer:
    found = layer(graph, name)
    if not found or not found.fits(op, kernel, stride, pad):
        raise Unlike(f"another layer instead of a {op}{f' {kernel} x {kernel}' if kernel else ''}")
    return found


def _same(names: list[str], what: str) -> str:
    if len(set(names)) != 1:
        raise Unlike(f"{len(set(names))} {what} instead of one")
    return names[0]


def _close(value: float, wanted: float) -> bool:
    return abs(value - wanted) < 1e-3 * wanted
