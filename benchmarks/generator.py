"""Benchmarks the CSCS generator for inference (FusedAEINet) against the plain network (AEINet) in one run.

    python benchmarks/generator.py [--threads 2] [--device cpu] [--batch 1 4] [--turns 7]

On a CPU in float32 and bfloat16; on CUDA also in TF32 and float16, each eager and as a CUDA graph. Lower precision is
first checked against float32. The ratio is plain / ours on the same images, measured turn by turn. The ceiling is the
throughput of a large matrix product in the same number format in the same run. Weights are random, which does not
affect the time.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from cscs_core.models import AEIConfig, AEIIdentity, AEINet, FusedAEINet, for_inference

LEAST = 35.0  # dB, minimum PSNR of lower precision against float32


@dataclass(frozen=True)
class Form:
    """A number format and execution mode of the generator."""

    name: str
    dtype: torch.dtype = torch.float32
    tf32: bool = False
    graph: bool = False


def timed(work: Callable[[], object], device: str) -> float:
    """The run time of `work` in seconds."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ceiling(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a large square matrix product, the best of 8 runs."""
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: a @ b, device) for _ in range(8))


def work_of(net: AEINet, device: str) -> float:
    """FLOP per image, counted on the plain network."""
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 256, 256, device=device), torch.zeros(1, net.config.identity, device=device))
    return counter.get_total_flops()


def runner(form: Form, net: FusedAEINet, pictures: Tensor, z: Tensor) -> Callable[[], Tensor]:
    """A function that runs the generator on these images with one identity."""
    net = net.to(form.dtype)
    pictures = pictures.to(form.dtype)
    identity: AEIIdentity = net.prepare(z.to(form.dtype))
    if not form.graph:
        return lambda: net(pictures, identity)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # warm up on a side stream before the capture
        for _ in range(3):
            net(pictures, identity)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = net(pictures, identity)

    def replay() -> Tensor:
        graph.replay()
        return out

    return replay


def forms(device: str) -> list[Form]:
    """The forms to time on this device."""
    if not device.startswith("cuda"):
        return [Form("float32"), Form("bfloat16", torch.bfloat16)]
    eager = [
        Form("float32"),
        Form("tf32", tf32=True),
        Form("float16", torch.float16),
        Form("bfloat16", torch.bfloat16),
    ]
    return eager + [Form(f"{form.name}, graph", form.dtype, form.tf32, True) for form in eager]


def allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, nargs="+")
    options = parser.parse_args()
    device, write = options.device, sys.stdout.write
    cuda = device.startswith("cuda")
    batches = options.batch or ([1, 4, 16, 64] if cuda else [1, 4])
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    with torch.inference_mode():
        plain = AEINet(AEIConfig()).eval().to(device)
        work = work_of(plain, device)
        machine = torch.cuda.get_device_name(device) if cuda else f"{options.threads} threads, {platform.machine()}"
        write(f"torch {torch.__version__}, {machine}, {work / 1e9:.1f} GFLOP per image\n")
        write("| form | batch | ms per image | plain / ours | of ceiling | PSNR to float32 |\n")
        write("|---|---|---|---|---|---|\n")
        good = True
        for form in forms(device):
            allow_tf32(form.tf32)
            top = ceiling(form.dtype, device)
            for batch in batches:
                pictures = torch.rand(batch, 3, 256, 256, device=device) * 2 - 1
                z = torch.nn.functional.normalize(torch.randn(1, 512, device=device)) * 1.4
                fused = for_inference(AEINet(AEIConfig()).eval().to(device))
                fused.load_state_dict(FusedAEINet(plain).state_dict())
                allow_tf32(False)
                exact = fused(pictures, fused.prepare(z))
                allow_tf32(form.tf32)
                ours = runner(form, fused, pictures, z)
                apart = float((ours().float() - exact).square().mean())
                psnr = 10 * math.log10(4 / apart) if apart else math.inf
                good = good and psnr >= LEAST
                once, ratios = [], []
                spread = z.expand(batch, -1)
                for turn in range(options.turns + 1):
                    mine, theirs = timed(ours, device), timed(lambda p=pictures, s=spread: plain(p, s), device)
                    if turn:  # the first warms up
                        once.append(mine)
                        ratios.append(theirs / mine)
                seconds = statistics.median(once)
                share = work * batch / seconds / top
                write(
                    f"| {form.name} | {batch} | {1000 * seconds / batch:.1f} | {statistics.median(ratios):.2f} "
                    f"| {100 * share:.0f} % | {psnr:.0f} dB |\n"
                )
    if not good:
        write(f"lower precision is below {LEAST:.0f} dB PSNR against float32\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
