"""The tests as other machines run them: other processors, numbers of threads and workers, a busy machine, other orders.

    python tests/matrix.py                      all of them in every configuration, an hour on two cores
    python tests/matrix.py hub faces            those of two folders here
    python tests/matrix.py --only busy reversed two of the configurations

A line for each configuration: what pytest says in the end, and the processor time of all its processes; below it
what failed, and why. Exits with 1 if one did. For Linux and macOS.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
VARIABLES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "OMP_NUM_THREADS")  # unset unless a configuration sets them
SPIN = "while True: pass"


@dataclass(frozen=True)
class Configuration:
    name: str
    workers: str  # of pytest-xdist, each taking whole files
    variables: dict[str, str] = field(default_factory=dict)
    order: str = "usual"  # of the files: usual, reversed or shuffled
    busy: bool = False  # every core is kept busy by something else
    elsewhere: bool = False  # home and temporary folder have spaces and accents, and the locale is the plain one


CONFIGURATIONS = (
    Configuration("make-test", "auto"),
    Configuration("plain-kernels", "2", {"ATEN_CPU_CAPABILITY": "default"}),
    Configuration("avx2", "0", {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "OMP_NUM_THREADS": "1"}),
    Configuration("four-workers", "4", {"OMP_NUM_THREADS": "1"}, order="shuffled"),
    Configuration("busy", "2", busy=True),
    Configuration("reversed", "0", {"ATEN_CPU_CAPABILITY": "default", "OMP_NUM_THREADS": "1"}, order="reversed"),
    Configuration("elsewhere", "2", {"OMP_NUM_THREADS": "1"}, order="shuffled", elsewhere=True),
)


def files(names: list[str], order: str, seed: int) -> list[str]:
    places = [TESTS / name for name in names or ["."]]
    inside = [[place] if place.is_file() else place.rglob("test_*.py") for place in places]
    found = sorted(str(path) for paths in inside for path in paths)
    if order == "shuffled":
        random.Random(seed).shuffle(found)
    return found[::-1] if order == "reversed" else found


@contextmanager
def burning(count: int) -> Iterator[None]:
    """Processes that each keep one core busy."""
    processes = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def environment(wanted: Configuration, place: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name not in VARIABLES} | wanted.variables
    if wanted.elsewhere:
        names = {"HOME": "the home of José", "TMPDIR": "a temporary place, é"}
        for variable, name in names.items():
            (place / name).mkdir()
            variables[variable] = str(place / name)
        variables |= {"LC_ALL": "C", "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7"}
    return variables


def run(wanted: Configuration, names: list[str], seed: int) -> bool:
    """Whether all tests passed; writes the line."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=short", "-n", wanted.workers, "--dist", "loadfile"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with tempfile.TemporaryDirectory() as place, burning((os.cpu_count() or 1) if wanted.busy else 0):
        done = subprocess.run(
            [*command, *files(names, wanted.order, seed)],
            cwd=ROOT,
            env=environment(wanted, Path(place)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic() - started
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    *_, last = ["", *done.stdout.splitlines()]
    counts = re.sub(r" in [\d.]+s.*", "", last.strip("= "))
    sys.stdout.write(f"{wanted.name:14} {counts}; {wall:.0f} s, {used:.0f} s of processor time\n")
    telling = ("E  ", "FAILED ", "ERROR ")
    sys.stdout.writelines(f"  {line}\n" for line in done.stdout.splitlines() if line.startswith(telling))
    if done.returncode not in (0, 1):  # pytest did not come to its end
        sys.stdout.write(done.stdout[-4000:])
    sys.stdout.flush()
    return done.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="folders or files in tests/; all if none is named")
    known = [each.name for each in CONFIGURATIONS]
    parser.add_argument("--only", nargs="+", choices=known, default=known, help="run these configurations")
    parser.add_argument("--seed", type=int, default=0, help="of the shuffled orders")
    options = parser.parse_args()
    done = [run(each, options.names, options.seed) for each in CONFIGURATIONS if each.name in options.only]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
