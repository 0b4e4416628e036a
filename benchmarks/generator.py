"""Times the CSCS generator in its form for inference beside the plain transcription, in one run.

    python benchmarks/generator.py [--threads 2] [--device cpu] [--batch 1 4] [--turns 7]

On a processor in float32 and bfloat16; on CUDA also with TF32 and float16, each eager and as a CUDA graph. Half
precision is checked against float32 first. The ratio is plain / ours, measured turn by turn, both on the same pictures;
the ceiling is what a large matrix product of the same number format reaches on this machine in the same run. Weights
are random: they do not change the time.
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

LEAST = 35.0  # dB that half precision must reach against float32, peak to peak


@dataclass(frozen=True)
class Form:
    """A way to run the generator."""

    name: str
    dtype: torch.dtype = torch.float32
    tf32: bool = False
    graph: bool = False


def timed(work: Callable[[], object], device: str) -> float:
    """Seconds that it takes."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start


def ceiling(dtype: torch.dtype, device: str) -> float:
    """FLOP/s of a large square matrix product, the best of several."""
    side = 8192 if device.startswith("cuda") else 2048
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2 * side**3 / min(timed(lambda: a @ b, device) for _ in range(8))


def work_of(net: AEINet, device: str) -> float:
    """FLOP of one picture, counted in the plain form."""
    with FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 256, 256, device=device), torch.zeros(1, net.config.identity, device=device))
    return counter.get_total_flops()


def runner(form: Form, net: FusedAEINet, pictures: Tensor, z: Tensor) -> Callable[[], Tensor]:
    """The generator on these pictures with one identity, ready to be called again and again."""
    net = net.to(form.dtype)
    pictures = pictures.to(form.dtype)
    identity: AEIIdentity = net.prepare(z.to(form.dtype))
    if not form.graph:
        return lambda: net(pictures, identity)
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):  # warmed up beside the stream that is captured
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
        write(f"torch {torch.__version__}, {machine}, {work / 1e9:.1f} GFLOP a picture\n")
        write("| form | batch | ms a picture | plain / ours | of the ceiling | PSNR to float32 |\n")
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
        write(f"half precision is less than {LEAST:.0f} dB like float32\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
