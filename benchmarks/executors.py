"""What running a round's work elsewhere costs: start, first call, round trip, payload.

Run as ``python -m benchmarks.executors``. Prints figures and asserts nothing. Images travel
as the path of a memory map; the same array as an argument is printed beside it, to show why.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from al_orchestrator.executors import Executor, RaySettings, Resources, open_executor

Images = npt.NDArray[np.uint8]


def nothing() -> None:
    return


def sum_of_file(path: Path) -> int:
    return sum_of_images(np.load(path, mmap_mode="r"))


def sum_of_images(images: Images) -> int:
    return int(images.sum(dtype=np.int64))


def milliseconds(work: Callable[[], object], repeats: int) -> list[float]:
    """Wall time of each of `repeats` calls."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        times.append(1000 * (time.perf_counter() - begin))
    return times


def show(what: str, times: list[float]) -> None:
    print(
        f"  {what:<42} median {statistics.median(times):9.2f} ms   "
        f"min {min(times):9.2f}   max {max(times):9.2f}   n {len(times)}"
    )


def measure_calls(executor: Executor, folder: Path, images: Images, repeats: int) -> None:
    log = folder / "worker.log"
    path = folder / "images.npy"
    np.save(path, images)
    show("first call (starts the worker)", milliseconds(lambda: call(executor, log, nothing), 1))
    show(
        "warm round trip, no payload",
        milliseconds(lambda: call(executor, log, nothing), repeats),
    )
    few = max(3, repeats // 20)
    size = f"{images.nbytes / 2**20:.0f} MiB"
    show(
        f"sum of {size} as the path of a memory map",
        milliseconds(lambda: call(executor, log, sum_of_file, path), few),
    )
    show(
        f"sum of {size} as an argument",
        milliseconds(lambda: call(executor, log, sum_of_images, images), few),
    )
    show(f"sum of {size}, called directly", milliseconds(lambda: sum_of_images(images), few))


def call(executor: Executor, log: Path, function: Callable[..., object], *args: object) -> None:
    executor.submit(function, *args, log=log).result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--images", type=int, default=20_000, help="of 48 x 48 bytes each")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (arguments.images, 48, 48, 1), dtype=np.uint8)
    for kind in ("in_process", "ray"):
        begin = time.perf_counter()
        executor = open_executor(kind, RaySettings(), Resources())
        opened = time.perf_counter() - begin
        print(f"{executor.describe()}\n  opened in {opened:.2f} s")
        with tempfile.TemporaryDirectory() as folder:
            measure_calls(executor, Path(folder), images, arguments.repeats)
        begin = time.perf_counter()
        executor.close()
        print(f"  closed in {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    main()
