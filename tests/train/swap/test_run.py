"""Training swappers of a thousand parameters: what a step does, and what a run survives."""

from __future__ import annotations

import contextlib
import copy
import faulthandler
import functools
import json
import math
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor, nn

accelerate = pytest.importorskip("accelerate")

from accelerate.state import AcceleratorState  # noqa: E402

from cscs_core.cli import main, parser  # noqa: E402
from cscs_core.commands import train as cmd_train  # noqa: E402
from cscs_core.faces.swappers.catalogue import load_swapper  # noqa: E402
from cscs_core.hub import weights  # noqa: E402
from cscs_core.hub.store import Store  # noqa: E402
from cscs_core.io import images  # noqa: E402
from cscs_core.io.files import BadInput  # noqa: E402
from cscs_core.models import (  # noqa: E402
    Discriminator,
    DiscriminatorConfig,
    EncoderConfig,
    IdAdapter,
    IdAdapterConfig,
    IdentityEncoder,
    IResNet,
    IResNetConfig,
    SmallGenerator,
    SmallGeneratorConfig,
)
from cscs_core.ops import geometry  # noqa: E402
from cscs_core.train import ema  # noqa: E402
from cscs_core.train.swap import loop as swap_loop  # noqa: E402
from cscs_core.train.swap import losses  # noqa: E402
from cscs_core.train.swap.check import Check, check  # noqa: E402
from cscs_core.train.swap.data import Data, MemoryPictures, MemoryProxies, OrdinaryPairs, Pairs  # noqa: E402
from cscs_core.train.swap.loop import begin, draw, train  # noqa: E402
from cscs_core.train.swap.losses import Weights  # noqa: E402
from cscs_core.train.swap.presets import PRESETS, Part, Preset  # noqa: E402
from cscs_core.train.swap.run_folder import open_folder  # noqa: E402
from cscs_core.train.swap.state import Progress, load_state, save_state  # noqa: E402
from cscs_core.train.swap.step import Training, iterate  # noqa: E402
from cscs_core.train.swap.student import Recogniser, Student, load_recogniser, load_student, new_student  # noqa: E402

SIZE, WIDTH = 32, 8
PATIENCE = 300  # seconds for another process: ten times what it takes on a slow and busy machine


@pytest.fixture(scope="module", autouse=True)
def _no_accelerator_of_others() -> None:
    """There is one state for all accelerators of a process, and a first test elsewhere may have made another."""
    AcceleratorState._reset_state(True)


def _generator(identity: int) -> nn.Module:
    return SmallGenerator(SmallGeneratorConfig(identity, (4, 4), 1))


def _critic() -> nn.Module:
    return Discriminator(DiscriminatorConfig(SIZE, 4))


TINY = Preset(
    "tiny",
    size=SIZE,
    encoder="",
    generator=_generator,
    critic=_critic,
    parts=(Part("ordinary", 8, Weights(1, 10, 0.1)), Part("proxy", 8, Weights(1, 20, 0.1))),
    loss=losses.released,
    steps=12,
    rate=2e-3,
    critic_rate=2e-3,
    average=0.9,
    r1_every=4,
    give_up=None,
    log_every=1,
    check_every=4,
)


def encoder() -> IdentityEncoder:
    """Its batch norms have seen pictures, so that it tells them apart: cosines of -0.9 to 0.8."""
    return copy.deepcopy(_encoder())


@functools.cache
def _encoder() -> IdentityEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = IdentityEncoder(EncoderConfig(32, (4, 8), (0, 0), WIDTH))
    nn.init.zeros_(network.head.bias)
    seen = pictures(32, 6)
    with torch.no_grad():
        for _ in range(40):
            network(seen)
    return network.eval()


def accelerator(precision: str = "no") -> Any:
    return accelerate.Accelerator(cpu=True, mixed_precision=precision)


def pictures(count: int, seed: int) -> Tensor:
    coarse = torch.rand(count, 3, 4, 4, generator=Generator().manual_seed(seed))
    return nnf.interpolate(coarse, (SIZE, SIZE), mode="bilinear")


def data() -> Data:
    photos, y = pictures(12, 1), pictures(12, 2)
    proxies = MemoryProxies(y, (y.flip(-1) * 0.9), (y + pictures(12, 3)) / 2, (pictures(12, 4),))
    rows = torch.arange(4)
    ordinary = OrdinaryPairs(MemoryPictures(photos))
    held_out = {
        "ordinary": ordinary.pairs(torch.cat([rows, rows.roll(1)]), rows.repeat(2)),
        "proxy": proxies.pairs(rows, torch.zeros_like(rows)),
    }
    return Data({"ordinary": ordinary, "proxy": proxies}, held_out)


def start(preset: Preset = TINY, precision: str = "no", student: Student | None = None) -> Training:
    return begin(preset, accelerator(precision), Recogniser(encoder(), WIDTH), 3, student)


def learn(run: Path, preset: Preset = TINY) -> tuple[Training, Progress]:
    training = start(preset)
    progress, stopped = train(training, data(), open_folder(run, False), 3)
    assert stopped == 0
    return training, progress


def logged(run: Path, name: str = "proxy_identity") -> dict[int, dict[str, float]]:
    """Lines of the log by step, those with this value."""
    records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert len({(record["step"], "held_out" in record) for record in records}) == len(records)  # none twice
    return {record["step"]: record for record in records if name in record}


def weights_of(network: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten().float() for value in network.state_dict().values()])


# What a student is.


def test_a_new_student_starts_from_the_recogniser_alone():
    student = new_student(_generator(WIDTH), Recogniser(encoder(), WIDTH))
    identity, adapted = nnf.normalize(torch.randn(2, 3, WIDTH), dim=-1)
    assert torch.allclose(student.joined(identity, adapted), identity)
    assert student.gate is not None
    student.gate.weight.data.copy_(0.5 * torch.eye(WIDTH))
    assert torch.allclose(student.joined(identity, adapted), nnf.normalize(identity + 0.5 * adapted, dim=-1))


def test_a_copy_of_the_recogniser_can_be_learned_from_its_first_steps():
    training = start(replace(TINY, clip=1e9))
    student = training.bare_student
    assert student.gate is not None
    gradients: list[float] = []
    student.gate.weight.register_hook(lambda gradient: gradients.append(float(gradient.norm())))
    before = weights_of(student.adapter)
    for step in (1, 2):
        iterate(training, draw(training, data(), 3, step), step, 1.0)
    assert all(1e-4 < norm < 10 for norm in gradients)  # neither a saddle nor the direction of a vector of length 0
    assert (weights_of(student.adapter) - before).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["add", "concat", "replace"])
def test_released_adapters_are_joined_as_in_the_release(kind):
    student = Student(_generator(WIDTH), encoder(), WIDTH, kind)
    identity, adapted = nnf.normalize(torch.randn(2, 3, WIDTH), dim=-1)
    expected = {"add": identity + adapted, "concat": torch.cat([identity, adapted], -1), "replace": adapted}[kind]
    assert torch.equal(student.joined(identity, adapted), expected)


def test_replace_shows_the_adapter_and_not_the_recogniser():
    student = Student(_generator(WIDTH), encoder(), WIDTH, "replace")
    target, view = torch.rand(1, 3, SIZE, SIZE) * 2 - 1, torch.rand(1, 3, SIZE, SIZE)
    one, other = nnf.normalize(torch.randn(2, 1, WIDTH), dim=-1)
    assert torch.equal(student(target, view, one), student(target, view, other))  # one row: the batch axis stays
    assert not torch.equal(student(target, view, one), student(target, 1 - view, one))


def test_the_adapter_keeps_the_statistics_of_its_batch_norms():
    student = new_student(_generator(WIDTH), Recogniser(encoder(), WIDTH)).train()
    before = {name: value.clone() for name, value in student.adapter.named_buffers()}
    student(torch.rand(2, 3, SIZE, SIZE), torch.rand(2, 3, SIZE, SIZE), torch.randn(2, WIDTH))
    assert all(torch.equal(value, before[name]) for name, value in student.adapter.named_buffers())
    assert all(value.requires_grad for value in student.adapter.parameters())


def test_an_iresnet_sees_the_whole_crop_and_ours_the_aligned_face():
    crop = torch.rand(1, 3, 64, 64) * 2 - 1
    whole = Recogniser(nn.Identity(), WIDTH).view(crop)
    assert torch.equal(whole, nnf.interpolate(crop, (112, 112), mode="bilinear", align_corners=False))
    for size in (32, 64, 256):
        crop = nnf.interpolate(torch.rand(2, 3, 9, 9), (size, size), mode="bilinear")
        points = [geometry.template(name, side)[None] for name, side in (("ffhq_512", size), ("arcface_112_v2", 32))]
        expected = geometry.warp(crop, geometry.similarity(*points).expand(2, 2, 3), 32)
        assert torch.allclose(Recogniser(encoder(), WIDTH).view(crop * 2 - 1), expected, atol=1e-5)


# What an iteration does.


def test_the_average_follows_its_formula():
    average, network = nn.BatchNorm1d(1), nn.BatchNorm1d(1)
    average.weight.data.fill_(1.0)
    network.weight.data.fill_(2.0)
    network.running_mean = torch.tensor([4.0])
    network.num_batches_tracked = torch.tensor(7)
    ema.update(average, network, 0.75)
    assert average.weight.tolist() == [1.25]
    assert average.running_mean is not None and float(average.running_mean) == 1.0
    assert int(average.num_batches_tracked or 0) == 7
    assert ema.decay(1, 0.999) == pytest.approx(2 / 11)
    assert ema.decay(10**6, 0.999) == 0.999


def test_an_iteration_averages_the_student():
    training = start()
    before = weights_of(training.average)
    iterate(training, draw(training, data(), 3, 1), 1, 1.0)
    expected = before.lerp(weights_of(training.bare_student), 1 - 2 / 11)
    assert torch.allclose(weights_of(training.average), expected, atol=1e-6)


def test_the_gradient_penalty_comes_every_few_steps_and_counts_as_many_times_more():
    preset = replace(TINY, r1_every=16)
    training = start(preset)
    for step in (1, 15, 17):
        assert not [name for name in iterate(training, draw(training, data(), 3, step), step, 1.0) if "r1" in name]
    critic, batches = copy.deepcopy(training.bare_critic), draw(training, data(), 3, 16)
    found = iterate(training, batches, 16, 1.0)
    assert [name for name in found if "r1" in name] == ["ordinary_r1", "proxy_r1"]
    real = (batches["ordinary"].y * 2 - 1).requires_grad_()
    (gradient,) = torch.autograd.grad(critic.requires_grad_(True)(real).sum(), real)
    assert float(found["ordinary_r1"]) == pytest.approx(16 * 10 / 2 * float(gradient.square().sum()) / 8, rel=1e-4)


def test_terms_of_a_step_are_those_of_its_formulas():
    training = start()
    batches = draw(training, data(), 3, 1)
    student, critic = copy.deepcopy(training.bare_student), copy.deepcopy(training.bare_critic)
    found = iterate(training, batches, 1, 1.0)
    pairs, recogniser = batches["ordinary"], training.recogniser
    source, target = pairs.x_src * 2 - 1, pairs.x_tgt * 2 - 1
    with torch.no_grad():
        out = student(target, recogniser.view(source), recogniser(source))
        self = ((out - target)[:4] ** 2).mean()
        alike = nnf.cosine_similarity(recogniser(out), recogniser(source))
        apart = nnf.softplus(-critic(target)).mean() + nnf.softplus(critic(out)).mean()
    expected = {"identity": (1 - alike).mean(), "reconstruction": 10 * self / 3, "critic": apart}
    for name, value in expected.items():
        assert float(found[f"ordinary_{name}"]) == pytest.approx(float(value), rel=1e-4), name


def test_clipping_covers_generator_adapter_and_gate_together():
    training = start(replace(TINY, clip=0.01, parts=(Part("proxy", 4, Weights(100, 100, 1)),)))
    student = training.bare_student
    assert student.gate is not None
    student.gate.weight.data.copy_(torch.eye(WIDTH).flip(0))
    norms: list[float] = []

    def look(*_: object) -> None:
        parts = [student.generator, student.adapter, student.gate, student]
        norms.extend(float(_norm(part)) for part in parts if part is not None)

    training.student_optimiser.optimizer.register_step_pre_hook(look)  # pyright: ignore[reportAttributeAccessIssue]
    iterate(training, draw(training, data(), 3, 1), 1, 1.0)
    assert norms[3] == pytest.approx(0.01, rel=1e-3)
    assert min(norms) > 0
    assert math.hypot(*norms[:3]) == pytest.approx(norms[3], rel=1e-5)


def _norm(network: nn.Module) -> Tensor:
    return torch.stack([value.grad.norm() for value in network.parameters() if value.grad is not None]).norm()


def test_the_critic_is_left_alone_while_the_student_learns():
    training = start(replace(TINY, parts=(Part("proxy", 4, Weights(0, 0, 1)),), critic_rate=0.0))
    before = weights_of(training.bare_critic)
    iterate(training, draw(training, data(), 3, 1), 1, 1.0)
    assert torch.equal(weights_of(training.bare_critic), before)
    assert all(value.grad is None for value in training.bare_critic.parameters())
    assert not torch.equal(weights_of(training.bare_student), weights_of(start().bare_student))


# What a run does.


def test_a_student_learns_and_the_best_on_held_out_pairs_is_kept(tmp_path):
    _, progress = learn(tmp_path, replace(TINY, steps=18, check_every=6, rate=1e-2))
    held_out = {step: record["held_out"] for step, record in logged(tmp_path, "held_out").items()}
    assert list(held_out) == [6, 12, 18]
    assert held_out[18] < held_out[6]
    assert progress.best == min(held_out.values())
    assert held_out[progress.best_step] == progress.best
    notes = weights.read(tmp_path / "generator.safetensors")[1]
    assert (notes["step"], notes["join"], notes["preset"]) == (str(progress.best_step), "gated", "tiny")
    assert isinstance(weights.load_any(tmp_path / "adapter.safetensors"), IdentityEncoder)
    assert images.read(tmp_path / "pictures" / "00000018.jpg").shape == (1, 3, 4 * SIZE, 8 * SIZE)


def test_a_later_but_worse_student_is_not_kept(tmp_path, monkeypatch):
    found = iter([3.0, 1.0, 2.0])
    grid = torch.zeros(3, 4, 4)
    monkeypatch.setattr(swap_loop, "check", lambda *_: Check(next(found), {}, grid))
    _, progress = learn(tmp_path)
    assert (progress.best, progress.best_step) == (1.0, 8)
    assert weights.read(tmp_path / "generator.safetensors")[1]["step"] == "8"


def test_a_finished_run_does_not_go_on_and_goes_on_with_more_steps(tmp_path):
    short, long = replace(TINY, steps=5), replace(TINY, steps=9)
    first, _ = learn(tmp_path / "one", short)
    again, progress = learn(tmp_path / "one", short)
    assert progress.step == 5
    assert torch.equal(weights_of(first.bare_student), weights_of(again.bare_student))
    longer, _ = learn(tmp_path / "one", long)
    whole, _ = learn(tmp_path / "two", long)
    assert torch.equal(weights_of(longer.bare_student), weights_of(whole.bare_student))
    assert torch.equal(weights_of(longer.bare_critic), weights_of(whole.bare_critic))
    assert torch.equal(weights_of(longer.average), weights_of(whole.average))
    assert list(logged(tmp_path / "one")) == list(range(1, 10))


def test_a_run_by_minutes_counts_training_alone(tmp_path, monkeypatch):
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            self.now += 30  # seconds from one look to the next
            return self.now

    def slow(*given: Any) -> Check:
        clock.now += 1000
        return check(*given)

    clock = Clock()
    monkeypatch.setattr(swap_loop, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(swap_loop, "check", slow)
    timed = replace(TINY, steps=None, minutes=3, cosine=True)
    training, progress = learn(tmp_path, timed)
    assert (progress.step, progress.minutes) == (6, 3.0)
    assert [record["minutes"] for record in logged(tmp_path).values()] == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert list(logged(tmp_path, "held_out")) == [4, 6]
    last = 2e-3 * (0.5 + 0.5 * math.cos(math.pi * 5 / 6))  # the last step began with 5/6 of the time spent
    assert training.student_optimiser.param_groups[0]["lr"] == pytest.approx(last)
    _, progress = learn(tmp_path, replace(timed, minutes=5))
    assert progress.step == 10


def test_whatever_is_random_in_a_step_is_the_steps_own():
    training, pairs = start(), data()

    def ambient(step: int) -> list[float]:
        draw(training, pairs, 3, step)
        return [random.random(), float(np.random.rand()), float(torch.rand(()))]

    fifth = ambient(5)
    assert all(one != other for one, other in zip(fifth, ambient(6), strict=True))
    assert ambient(5) == fifth
    one, other = (draw(training, pairs, seed, 5)["proxy"] for seed in (3, 4))
    assert not torch.equal(one.y, other.y)


def test_bfloat16_learns_much_the_same(tmp_path):
    exact = start()
    wanted = iterate(exact, draw(exact, data(), 3, 4), 4, 1.0)
    AcceleratorState._reset_state(True)
    try:
        short = start(precision="bf16")
        found = iterate(short, draw(short, data(), 3, 4), 4, 1.0)
    finally:
        AcceleratorState._reset_state(True)
    for name in ("ordinary_identity", "ordinary_reconstruction", "ordinary_critic", "ordinary_r1"):
        assert float(found[name]) == pytest.approx(float(wanted[name]), rel=0.1, abs=0.02), name
    assert next(short.bare_student.parameters()).dtype == torch.float32


@dataclass
class Slow:
    """The same pairs, slowly enough to be killed between any two steps, and slower still before the run is over."""

    source: Any
    seconds: float = 0.03
    batches: int = 0

    def batch(self, generator: Generator, count: int, share: slice = slice(None)) -> Pairs:
        self.batches += 1
        time.sleep(self.seconds if self.batches < 14 else 20 * self.seconds)
        return self.source.batch(generator, count, share)


def child(run: str, steps: int, seconds: float) -> None:
    """What another process does: a run of its own."""
    torch.set_num_threads(1)
    slow = data()
    slow = Data({name: Slow(source, seconds) for name, source in slow.train.items()}, slow.held_out)
    training = start(replace(TINY, steps=steps))
    _, stopped = train(training, slow, open_folder(Path(run), False), 3)
    training.accelerator.end_training()
    sys.exit(128 + stopped if stopped else 0)


def rank(one: str, two: str, steps: int, group: dict[str, str]) -> None:
    """What one of two processes does, in float64 all through: a run with the other, of this group, and before it,
    where there is a place for it, a run alone."""
    faulthandler.dump_traceback_later(PATIENCE - 60, exit=True)  # a rank that hangs says where, and ends
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    Tensor.float = Tensor.double  # pyright: ignore[reportAttributeAccessIssue]
    if one:
        learn(Path(one), replace(TINY, steps=steps))
        AcceleratorState._reset_state(True)
    os.environ.update(group)
    training, _ = learn(Path(two), replace(TINY, steps=steps))
    training.accelerator.wait_for_everyone()  # a rank that leaves early may take the other's store with it
    training.accelerator.end_training()


@pytest.fixture
def spawn() -> Iterator[Callable[..., subprocess.Popen]]:
    """A function of this file in a process of its own, which does not outlive the test."""
    here = Path(__file__)
    code = (
        "import importlib.util as u, sys\n"
        "def load(name, path):\n"
        "    spec = u.spec_from_file_location(name, path); module = u.module_from_spec(spec)\n"
        "    sys.modules[name] = module; spec.loader.exec_module(module); return module\n"
        f"load('conftest', {str(here.parents[2] / 'conftest.py')!r})\n"
        f"load('test_swap_run', {str(here)!r})."
    )
    started: list[subprocess.Popen] = []

    def start(function: Callable[..., None], *given: Any) -> subprocess.Popen:
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}{function.__name__}{given!r}"],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen, run: Path, lines: int) -> None:
    until = time.monotonic() + PATIENCE
    log = run / "log.jsonl"
    while not log.exists() or log.read_text().count("\n") < lines:
        assert process.poll() is None, process.stderr and process.stderr.read().decode()
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Training]:
    """A run that nothing happened to."""
    run = tmp_path_factory.mktemp("whole")
    training, _ = learn(run)
    return run, training


def test_a_killed_run_goes_on_to_the_same_losses(tmp_path, whole, spawn):
    run, training = whole
    process = spawn(child, str(tmp_path), 12, 0.05)
    wait_for(process, tmp_path, random.randint(4, 8))
    process.kill()
    assert process.wait() != 0
    with open(tmp_path / "log.jsonl", "a") as log:
        log.write('{"step": 11, "mi')  # a line cut short
    (tmp_path / ".cscs-0123abcd").write_bytes(b"a state cut short")
    resumed, progress = learn(tmp_path)
    assert progress.step == 12
    assert torch.equal(weights_of(resumed.bare_student), weights_of(training.bare_student))
    found, wanted = logged(tmp_path), logged(run)
    assert list(found) == list(wanted) == list(range(1, 13))
    for step, record in wanted.items():
        assert {**found[step], "minutes": 0} == {**record, "minutes": 0}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".cscs")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_a_stopped_run_saves_and_says_so(tmp_path, whole, spawn):
    process = spawn(child, str(tmp_path), 12, 0.05)
    wait_for(process, tmp_path, 6)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == 130
    state = json.loads(weights.read(tmp_path / "state.safetensors")[1]["progress"])
    assert 5 <= state["step"] < 12
    assert max(logged(tmp_path)) == state["step"]
    resumed, _ = learn(tmp_path)
    assert torch.equal(weights_of(resumed.bare_student), weights_of(whole[1].bare_student))


def test_two_processes_learn_what_one_does(tmp_path, spawn):
    """Of 8 steps two have the gradient penalty. The pairs are shared, the gradients averaged, and both ranks go on from
    the same weights.

    In float64, because one process and two add up in different orders, and training makes such a difference larger:
    with gradients moved by one rounding of their size, terms of step 4 differ by up to 1e-3 of themselves in float32,
    those of step 6 by a tenth, and no bound tells rounding from a fault. In float64 it is 6e-14 in 18 steps.
    Critics whose gradients are not averaged show by 1e-8 in the first step already: hence 1e-9."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": _free_port()}
    shared |= {"ACCELERATE_USE_CPU": "true"}
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    for process in [
        spawn(rank, one if number == "0" else "", two, 8, {**shared, "RANK": number, "LOCAL_RANK": number})
        for number in ("0", "1")
    ]:
        assert process.wait(PATIENCE) == 0, process.stderr and process.stderr.read().decode()
    for name in ("proxy_identity", "held_out"):
        found, wanted = logged(tmp_path / "two", name), logged(tmp_path / "one", name)
        assert list(found) == list(wanted) == (list(range(1, 9)) if name == "proxy_identity" else [4, 8])
        for step, terms in wanted.items():
            for term in set(terms) - {"minutes"}:
                assert found[step][term] == pytest.approx(terms[term], rel=1e-9, abs=1e-9), (step, term)


def _free_port() -> str:
    """Below those that systems hand out, so that no other test is given it before the ranks have taken it."""
    for port in random.SystemRandom().sample(range(15_000, 30_000), 100):
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", port))
            return str(port)
    raise AssertionError("no port is free")


# What a run refuses.


def test_a_run_whose_losses_are_no_numbers_ends_and_keeps_its_state(tmp_path, monkeypatch):
    def broken(swapped: losses.SwapBatch, part: Weights) -> dict[str, Tensor]:
        terms = losses.released(swapped, part)
        calls.append(1)
        return {name: value * (math.nan if len(calls) > 21 else 1) for name, value in terms.items()}

    calls: list[int] = []
    with pytest.raises(BadInput, match=r"_identity is not finite at step \d+; run the same command again"):
        learn(tmp_path, replace(TINY, loss=broken))
    state = (tmp_path / "state.safetensors").read_bytes()
    assert json.loads(weights.read(tmp_path / "state.safetensors")[1]["progress"])["step"] in (4, 8)

    def spoilt(training: Training, *given: Any) -> dict[str, Tensor]:
        terms = iterate(training, *given)
        if given[1] == 12:  # the losses of the step are not yet touched
            next(training.bare_critic.parameters()).data.fill_(math.nan)
        return terms

    monkeypatch.setattr(swap_loop, "iterate", spoilt)
    with pytest.raises(BadInput, match=r"a weight is not finite at step 12"):
        learn(tmp_path, replace(TINY, check_every=12, log_every=12))
    assert (tmp_path / "state.safetensors").read_bytes() == state


def test_a_run_gives_up_once_when_results_do_not_look_like_their_sources(tmp_path, monkeypatch):
    hopeless = Check(1.0, {"ordinary_cos_source": 0.3, "ordinary_cos_target": 0.4}, torch.zeros(3, 1, 1))
    assert hopeless.hopeless
    assert replace(hopeless, measures={"proxy_cos_source": 0.05, "proxy_cos_target": 0.0}).hopeless
    assert not replace(hopeless, measures={"ordinary_cos_source": 0.3, "ordinary_cos_target": 0.2}).hopeless
    monkeypatch.setattr(swap_loop, "check", lambda *_: hopeless)
    with pytest.raises(BadInput, match=r"at step 8 the results do not look like their sources; more weight on"):
        learn(tmp_path, replace(TINY, give_up=0.5))
    _, progress = learn(tmp_path, replace(TINY, give_up=0.5))
    assert progress.step == 12


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda data: data[:-100], "state.safetensors: the checkpoint of this run is truncated; remove it to start"),
        (lambda data: b"", "state.safetensors: the checkpoint of this run is empty, not a safetensors file"),
        (lambda data: b"\x80\x02}q\x00.", "the checkpoint of this run is a pickle, not a safetensors file; remove it"),
    ],
)
def test_a_damaged_state_is_one_line(tmp_path, damage, line):
    state = tmp_path / "state.safetensors"
    save_state(state, start(), Progress("tiny", 3, step=5))
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(BadInput) as caught:
        learn(tmp_path)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_state_of_another_run_is_one_line(tmp_path):
    for name, preset, seed, line in (
        (
            "preset",
            replace(TINY, name="other"),
            3,
            r"is not a checkpoint of this preset \(but of other\); choose another --out",
        ),
        (
            "size",
            replace(TINY, generator=partial(_wider)),
            3,
            r"is not a checkpoint of this preset \(Error.* choose another --out",
        ),
        ("seed", TINY, 4, r"was started with --seed 4, not 3; use that seed or another --out"),
    ):
        save_state(tmp_path / name / "state.safetensors", start(preset), Progress(preset.name, seed, step=5))
        with pytest.raises(BadInput, match=line) as caught:
            learn(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_state_saved_under_the_former_name_of_its_preset_is_taken(tmp_path):
    training = start(replace(TINY, name="small-128"))
    save_state(tmp_path / "state.safetensors", training, Progress("lite-128", 3, step=5))
    found = load_state(tmp_path / "state.safetensors", training)
    assert (found.preset, found.step) == ("small-128", 5)


def test_a_run_does_not_go_on_with_another_encoder(tmp_path):
    learn(tmp_path)
    training = start(replace(TINY, steps=20))
    torch.manual_seed(7)
    other = replace(training, recogniser=Recogniser(IdentityEncoder(EncoderConfig(32, (4, 4), (0, 0), WIDTH)), WIDTH))
    with pytest.raises(BadInput, match="was started with another encoder; give it with --encoder, or choose another"):
        train(other, data(), open_folder(tmp_path, False), 3)


def _wider(identity: int) -> nn.Module:
    return SmallGenerator(SmallGeneratorConfig(identity, (4, 8), 1))


# The command.


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`cscs train tiny`, with pictures on disk."""
    monkeypatch.setitem(PRESETS, "tiny", TINY)
    for number, photo in enumerate(pictures(8, 5)):
        images.write(tmp_path / "data" / "normal_data" / f"{number}.png", photo)
        inside = tmp_path / "data" / "proxy_data" / f"p{number}.png"
        for name in (inside.name, "a_gensrc.jpg", "a_gendst.jpg"):
            images.write(inside / name, photo)
    weights.save_model(tmp_path / "encoder.safetensors", encoder())

    def run(*more: str, preset: str = "tiny") -> int:
        """Later options go before earlier ones."""
        usual = ["--data", "data", "--out", "run", "--encoder", "encoder.safetensors", "--device", "cpu", "--seed", "3"]
        return cmd_train.run(parser().parse_args(["train", preset, *usual, *more]))

    monkeypatch.chdir(tmp_path)
    return run


def test_the_command_trains_from_folders(command, tmp_path, capsys):
    assert command("--steps", "3") == 0
    names = {path.name for path in (tmp_path / "run").iterdir()}
    kept = {f"{name}.safetensors" for name in ("generator", "adapter", "gate")}
    assert names == {"config.json", "log.jsonl", "pictures", "state.safetensors"} | kept
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["name"], config["steps"], config["loss"], config["join"]) == ("tiny", 3, "released", "gated")
    assert (config["seed"], config["data"]) == (3, "data")
    assert config["encoder"] == str(tmp_path / "encoder.safetensors")
    assert config["networks"]["generator"] == {
        "kind": "SmallGenerator",
        "config": {"identity": WIDTH, "widths": [4, 4], "blocks": 1},
    }
    said = capsys.readouterr().out
    assert "step 3, 100.0 %: ordinary_critic" in said
    assert "run: done at step 3; the weights are the average at step 3" in said
    assert command("--steps", "3") == 0  # nothing left to do
    assert "done at step 3" in capsys.readouterr().out
    swapper = load_swapper("run", Store(tmp_path / "home"))
    assert swapper.sizes == (SIZE,)


def test_a_dry_run_reports_and_writes_nothing(command, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert command("--dry-run", "--minutes", "2") == 0
    assert sorted(tmp_path.rglob("*")) == before
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "tiny: 32 px, pairs per step: 8 ordinary, 8 proxy; held out: 4 ordinary, 2 proxy"
    assert lines[1].startswith("parameters: generator 0.00 M, adapter 0.00 M, critic 0.00 M")
    assert "every 4th" in lines[3] and "GB per process" in lines[4]
    assert lines[5].startswith("the run: 2.0 minutes, about ")


def test_tensorboard_is_a_choice(command, tmp_path):
    pytest.importorskip("tensorboard")
    assert command("--steps", "1", "--tensorboard") == 0
    assert list((tmp_path / "run" / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--data nowhere", r"^nowhere/normal_data: no such folder; training data are"),
        ("--encoder no.safetensors", r"^no.safetensors: no such file$"),
        ("--batch 6", r"^--batch 6: with 1 process it must be 1, 2, 3 or a multiple of 4$"),
        ("--batch 0", r"^--batch 0: with 1 process it must be"),
        ("--steps 0", r"^--steps 0: must be more than 0$"),
        ("--minutes nan", r"^--minutes nan: must be more than 0$"),
        ("--seed -1", r"^--seed -1: must be 0 or more$"),
        ("--steps 1 --minutes 1", r"^--steps and --minutes: give only one of them$"),
        ("--weights nowhere", r"^nowhere/cscs_generator.safetensors: no such file$"),
    ],
)
def test_wrong_options_are_one_line(command, tmp_path, words, line):
    with pytest.raises(BadInput, match=line):
        command(*words.split())
    assert not (tmp_path / "run").exists()


def test_a_wrong_preset_ends_the_program_with_the_right_ones(command, capsys):
    assert main(["train", "tinny", "--data", "data"]) == 2
    assert capsys.readouterr().err == "cscs: tinny: no such preset; choose one of cscs-256, small-128, toy, tiny\n"


def test_packages_that_are_missing_are_one_line(command, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    with pytest.raises(BadInput, match=r"^--tensorboard: tensorboard is not installed; pip install tensorboard$"):
        command("--tensorboard")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(
        BadInput, match=r"^cscs train: needs accelerate, which is not installed; pip install accelerate$"
    ):
        command()


def test_the_encoder_of_the_release_is_looked_for_in_the_store(command, tmp_path, monkeypatch):
    monkeypatch.setenv("CSCS_HOME", str(tmp_path / "home"))
    with pytest.raises(BadInput, match=r"home/cscs_encoder.safetensors: no such file; run `cscs fetch cscs`"):
        cmd_train.run(parser().parse_args(["train", "cscs-256", "--data", "data", "--device", "cpu"]))


def test_batches_are_shared_evenly():
    for batch, processes in ((8, 1), (3, 1), (8, 2), (4, 2), (16, 4), (24, 3)):
        cmd_train._check_batches(_batches_of(batch), processes)
    for batch, processes in ((6, 1), (8, 3), (2, 2), (12, 2), (6, 2)):
        with pytest.raises(BadInput, match=f"^--batch {batch}: with {processes} process"):
            cmd_train._check_batches(_batches_of(batch), processes)


def _batches_of(count: int) -> Preset:
    return replace(TINY, parts=tuple(replace(part, batch=count) for part in TINY.parts))


# Weights to start from.


def test_a_trained_student_can_be_trained_further(tmp_path):
    learn(tmp_path, replace(TINY, check_every=12))
    student = load_student(tmp_path, Recogniser(encoder(), WIDTH), SIZE)
    state = weights.read(tmp_path / "state.safetensors")[0]
    averaged = {name.removeprefix("average."): value for name, value in state.items() if name.startswith("average.")}
    assert set(student.state_dict()) == set(averaged)
    for name, value in student.state_dict().items():
        assert torch.allclose(value.float(), averaged[name].float(), atol=2e-3), name
    iterate(start(student=student), draw(start(), data(), 3, 1), 1, 1.0)
    with pytest.raises(BadInput, match=r"trained with another encoder, encoder.safetensors; give it with --encoder$"):
        load_student(tmp_path, Recogniser(IdentityEncoder(EncoderConfig(32, (4, 8), (0, 0), WIDTH)), WIDTH), SIZE)
    with pytest.raises(BadInput, match=r": makes images of 32 px, but this preset needs 64; choose another preset$"):
        load_student(tmp_path, Recogniser(encoder(), WIDTH), 64)


@pytest.mark.parametrize("kind", ["add", "concat", "replace"])
def test_the_weights_of_the_release_are_joined_as_in_the_release(tmp_path, kind):
    adapter = IdAdapter(IdAdapterConfig(kind, 18, WIDTH))
    weights.save_model(tmp_path / "cscs_generator.safetensors", _generator(16 if kind == "concat" else 8))
    weights.save_model(tmp_path / "cscs_adapter.safetensors", adapter)
    student = load_student(tmp_path, Recogniser(encoder(), WIDTH), 256)
    assert (student.kind, student.gate) == (kind, None)
    assert all(value.requires_grad for value in student.parameters())


def test_the_recogniser_is_an_encoder_and_no_adapter(tmp_path):
    weights.save_model(tmp_path / "own.safetensors", encoder())
    assert load_recogniser(tmp_path / "own.safetensors").width == WIDTH
    weights.save_model(tmp_path / "iresnet.safetensors", IResNet(IResNetConfig(18, 16)))
    assert load_recogniser(tmp_path / "iresnet.safetensors").width == 16
    weights.save_model(tmp_path / "adapter.safetensors", IdAdapter(IdAdapterConfig("add", 18, 16)))
    with pytest.raises(BadInput, match=r"adapter.safetensors: is of the architecture id_adapter; needed here is"):
        load_recogniser(tmp_path / "adapter.safetensors")
