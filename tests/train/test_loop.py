"""A line through points, learnt in a fraction of a second by a clock that ticks once a look."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from cscs_core.train import loop
from cscs_core.train.loop import Schedule, fit

TICK = 1 / 512  # seconds a step: sums of it are exact
STEPS = 100
QUICK = Schedule(
    minutes=STEPS * TICK / 60, rate=0.15, warm_up=5, average=0.9, weight_decay=0.0, save_every=24.5 * TICK / 60
)
TRUTH = torch.tensor([[2.0, -1.0]])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += TICK
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=clock))
    return clock


class Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(2, affine=False)  # buffers, to be averaged as well
        with torch.no_grad():
            self.line.weight.zero_()

    def forward(self, x: Tensor) -> Tensor:
        self.norm(x)
        return self.line(x)


def loss(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
    x = torch.randn(32, 2, generator=generator)
    return {"line": (model(x) - x @ TRUTH.T - 0.5).square().mean()}


def validate(model: nn.Module) -> dict[str, float]:
    assert not model.training
    assert isinstance(model.line, nn.Linear)
    return {"wrong_by": float((model.line.weight.detach() - TRUTH).abs().max())}


def learn(run: Path, schedule: Schedule = QUICK, loss: Callable[..., dict[str, Tensor]] = loss) -> nn.Module:
    torch.manual_seed(0)
    return fit(Line(), loss, schedule, run, validate)


def logged(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def saved(run: Path) -> dict:
    return torch.load(run / "state.pt", weights_only=True)


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_line_is_learnt_within_its_time(tmp_path):
    model = learn(tmp_path / "runs" / "line")
    assert validate(model)["wrong_by"] < 0.1
    assert saved(tmp_path / "runs" / "line")["step"] == STEPS


def test_the_log_says_how_far_and_how_good(tmp_path):
    learn(tmp_path)
    records = logged(tmp_path)
    assert all(set(record) == {"step", "minutes", "line", "wrong_by"} for record in records)
    assert [record["step"] for record in records] == [25, 50, 75, 100]
    assert [record["minutes"] for record in records] == pytest.approx([0.25 * n * QUICK.minutes for n in (1, 2, 3, 4)])
    assert records[-1]["wrong_by"] < 0.2 * records[0]["wrong_by"]


def test_a_finished_run_does_not_go_on(tmp_path):
    first = learn(tmp_path)
    again = learn(tmp_path, loss=lambda *_: pytest.fail("another step"))
    assert same(first, again)
    assert saved(tmp_path)["step"] == STEPS
    assert len(logged(tmp_path)) == 4


def test_a_killed_run_ends_where_it_would_have_ended(tmp_path):
    calls: list[int] = []

    def killed(model: nn.Module, generator: torch.Generator) -> dict[str, Tensor]:
        calls.append(1)
        if len(calls) == 61:
            raise KeyboardInterrupt
        return loss(model, generator)

    with pytest.raises(KeyboardInterrupt):
        learn(tmp_path / "killed", loss=killed)
    assert saved(tmp_path / "killed")["step"] == 50
    torch.manual_seed(9)
    resumed = fit(Line(), loss, QUICK, tmp_path / "killed", validate)
    assert same(resumed, learn(tmp_path / "whole"))
    assert [record["step"] for record in logged(tmp_path / "killed")] == [25, 50, 75, 100]
    assert not (tmp_path / "killed" / "state.part").exists()


def test_a_finished_run_goes_on_with_more_time(tmp_path):
    short = replace(QUICK, rate=0.02)
    learn(tmp_path, short)
    learn(tmp_path, replace(short, minutes=2 * QUICK.minutes))
    records = logged(tmp_path)
    assert saved(tmp_path)["step"] == 2 * STEPS
    assert saved(tmp_path)["optimiser"]["state"][0]["step"] == 2 * STEPS
    assert records[-1]["wrong_by"] < records[3]["wrong_by"]


def test_the_averaged_weights_are_returned(tmp_path):
    returned = learn(tmp_path, replace(QUICK, average=0.99)).state_dict()
    state = saved(tmp_path)
    assert torch.equal(returned["line.weight"], state["averaged"]["module.line.weight"])
    assert not torch.equal(returned["line.weight"], state["model"]["line.weight"])
    assert not torch.equal(returned["norm.running_var"], state["model"]["norm.running_var"])


def test_the_rate_ends_at_nothing(tmp_path):
    learn(tmp_path)
    assert saved(tmp_path)["optimiser"]["param_groups"][0]["lr"] < 0.01 * QUICK.rate


def test_vectors_are_not_decayed(tmp_path):
    learn(tmp_path, replace(QUICK, weight_decay=0.5))
    groups = saved(tmp_path)["optimiser"]["param_groups"]
    assert [(group["weight_decay"], len(group["params"])) for group in groups] == [(0.5, 1), (0.0, 1)]


def test_validation_costs_no_training_time(tmp_path, clock):
    def slow(model: nn.Module) -> dict[str, float]:
        clock.now += 1000
        return validate(model)

    fit(Line(), loss, QUICK, tmp_path, slow)
    assert len(logged(tmp_path)) == 4
    assert saved(tmp_path)["spent"] == STEPS * TICK
