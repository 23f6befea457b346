# SPDX-License-Identifier: Apache-2.0
"""The disk rows: `vmm disk bench` against `qemu-img bench` (same options) and fio on the raw file."""

import json
import os

from measure import GIB, Figure, Missing, Row, bench_seconds, in_turns, need, rate, ratio_figure, run

DEPTH = 64


def ours(setup, *words):
    return bench_seconds([setup.vmm, "disk"], *words)


def qemu(*words):
    return bench_seconds([need("qemu-img")], *words, "-i", "io_uring")


# Images.

def data_size(setup):
    return GIB // 4 if setup.quick else GIB


def raw_image(setup):
    """Every block written, none alike: nothing that zeros could make cheaper."""
    def make(path):
        block = os.urandom(1 << 20)
        with open(path, "wb") as file:
            for _ in range(data_size(setup) >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())  # write-back of dirty pages must not fall into somebody's measurement
    return setup.image("data.raw", make)


def full_qcow2(setup):
    raw = raw_image(setup)

    def make(path):
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path)
        run("sync", path)
    need("qemu-img")
    return setup.image("data.qcow2", make)


def spread_qcow2(setup):
    """64 GiB with a little data in each MiB: 8 MiB of L2 tables, all of them in use."""
    def make(path):
        run("qemu-img", "create", "-q", "-f", "qcow2", path, "64G")
        ours(setup, "-f", "qcow2", "-w", "-c", 65536, "-S", "1M", "-d", DEPTH, path)
        run("sync", path)
    need("qemu-img")
    return setup.image("spread.qcow2", make)


def fresh(setup, size, *options):
    path = setup.path("fresh.qcow2")
    if os.path.exists(path):
        os.unlink(path)
    need("qemu-img")
    run("qemu-img", "create", "-q", "-f", "qcow2", *options, path, size)
    return path


# Reads.

def fio_seconds(setup, count, pattern, direct):
    """Seconds for `count` requests at the rate that fio reaches on the raw file."""
    output = run(need("fio"), "--name=row", f"--filename={raw_image(setup)}", f"--rw={pattern}", "--bs=4k",
                 f"--iodepth={DEPTH}", "--ioengine=io_uring", f"--direct={direct:d}", "--invalidate=0",
                 f"--io_size={4096 * count}", "--output-format=json", "--readonly", "--norandommap")
    return count / json.loads(output[output.index("{"):])["jobs"][0]["read"]["iops"]


def read_row(words, target, peer, count=200_000, direct=False):
    def measure(setup):
        path, requests = full_qcow2(setup), setup.scaled(count)
        common = ["-f", "qcow2", "-c", requests, "-d", DEPTH, "-s", "4k", *(["-t", "none"] if direct else [])]
        theirs = {"qemu": lambda: qemu(*common, *words, path),
                  "fio": lambda: fio_seconds(setup, requests, "randread" if "--random=1" in words else "read", direct)}
        mine, other = in_turns(setup.rounds, lambda: ours(setup, *common, *words, path), theirs[peer])
        return ratio_figure(1 / mine, 1 / other, target, f"vmm {rate(requests, mine)}, {peer} {rate(requests, other)}")
    return measure


# Writes.

def fresh_write_row(words, target, count, size="64G"):
    """Both sides write to a new, empty image each time."""
    def measure(setup):
        requests = setup.scaled(count)
        common = ["-f", "qcow2", "-w", "-c", requests, "-d", DEPTH, *words]
        mine, theirs = in_turns(setup.rounds, lambda: ours(setup, *common, fresh(setup, size)),
                                lambda: qemu(*common, fresh(setup, size)))
        return ratio_figure(1 / mine, 1 / theirs, target, f"vmm {rate(requests, mine)}, qemu {rate(requests, theirs)}")
    return measure


def overwrite_row(target):
    def measure(setup):
        path, requests = full_qcow2(setup), setup.scaled(100_000)
        common = ["-f", "qcow2", "-w", "-c", requests, "-d", DEPTH, "-s", "4k", "-S", "68k"]
        mine, theirs = in_turns(setup.rounds, lambda: ours(setup, *common, path), lambda: qemu(*common, path))
        return ratio_figure(1 / mine, 1 / theirs, target, f"vmm {rate(requests, mine)}, qemu {rate(requests, theirs)}")
    return measure


def overlay(setup, extended):
    options = ["-o", "extended_l2=on,cluster_size=64k"] if extended else []
    return fresh(setup, str(data_size(setup)), *options, "-b", raw_image(setup), "-F", "raw")


# Every request goes to a cluster of its own, in an order that is neither side's favourite.
COW_WORDS = ["-f", "qcow2", "-w", "-d", DEPTH, "-s", "4k", "-S", "68k"]


def cow_count(setup):
    return data_size(setup) // (68 << 10)


def cow_row(target):
    def measure(setup):
        words = [*COW_WORDS, "-c", cow_count(setup)]
        mine, theirs = in_turns(setup.rounds, lambda: ours(setup, *words, overlay(setup, False)),
                                lambda: qemu(*words, overlay(setup, False)))
        count = cow_count(setup)
        return ratio_figure(1 / mine, 1 / theirs, target, f"vmm {rate(count, mine)}, qemu {rate(count, theirs)}")
    return measure


def subcluster_row(target):
    def measure(setup):
        words = [*COW_WORDS, "-c", cow_count(setup)]
        with_them, without, theirs = in_turns(
            setup.rounds, lambda: ours(setup, *words, overlay(setup, True)),
            lambda: ours(setup, *words, overlay(setup, False)), lambda: qemu(*words, overlay(setup, True)))
        count = cow_count(setup)
        return ratio_figure(1 / with_them, 1 / without, target,
                            f"with {rate(count, with_them)}, without {rate(count, without)}, "
                            f"qemu with {rate(count, theirs)}")
    return measure


# The L2 cache.

def small_cache_row(target):
    """1 MiB of cache for 8 MiB of tables. The next request is 33 MiB away: always in another slice."""
    def measure(setup):
        path, requests = spread_qcow2(setup), setup.scaled(100_000)
        common = ["-c", requests, "-d", DEPTH, "-s", "4k", "-S", "33M"]
        mine, theirs = in_turns(
            setup.rounds,
            lambda: ours(setup, *common, "-f", "qcow2", "--cache-options", "l2-cache-size=1M", path),
            lambda: qemu(*common, "--image-opts", "driver=qcow2,l2-cache-size=1M,l2-cache-entry-size=4k,"
                         f"file.driver=file,file.filename={path},file.aio=io_uring"))
        return ratio_figure(1 / mine, 1 / theirs, target, f"vmm {rate(requests, mine)}, qemu {rate(requests, theirs)}")
    return measure


PATTERNS = {"sequential": ["-S", "4k"], "seeks of 33M": ["-S", "33M"], "random": ["-S", "1M", "--random=1"]}


def cache_never_slower(setup):
    """The least favourable ratio over patterns; what one setting differs from itself by is the noise."""
    path, requests = spread_qcow2(setup), setup.scaled(60_000)
    worst, noise, where = 99.0, 0.0, ""

    def side(words, size):
        return lambda: ours(setup, "-f", "qcow2", "-c", requests, "-d", DEPTH, "-s", "4k", *words,
                            "--cache-options", f"l2-cache-size={size}", path)
    for name, words in PATTERNS.items():
        least, again, small, whole = in_turns(setup.rounds, side(words, "4k"), side(words, "4k"),
                                              side(words, "1M"), side(words, "8M"))
        noise = max(noise, abs(least / again - 1))
        for size, seconds in (("1M", small), ("8M", whole)):
            if least / seconds < worst:
                worst, where = least / seconds, f"{size}, {name}"
    return Figure(f"{worst:.2f}x", worst >= 1 - max(noise, 0.02), f"worst: {where}; noise {noise:.0%}")


def cache_hit(setup):
    program = os.path.join(setup.build, "disk", "cache-bench")
    results = [json.loads(run(program, "hit")) for _ in range(setup.rounds)]
    repeated = min(result["same-slice-ns"] for result in results)
    random = min(result["random-slice-ns"] for result in results)
    allocations = max(result["allocations"] for result in results)
    return Figure(f"{random:.0f} ns", random <= 30 and allocations == 0,
                  f"random slice of 2048; the same slice again {repeated:.0f} ns; {allocations} allocations")


ROWS = [
    Row("4k sequential reads", ">= 1.3x", "qemu-img bench", read_row([], 1.3, "qemu")),
    Row("4k reads 68k apart", ">= 1.3x", "qemu-img bench", read_row(["-S", "68k"], 1.3, "qemu")),
    Row("4k sequential reads, to raw", ">= 0.9x", "fio on raw", read_row([], 0.9, "fio")),
    Row("4k random reads, to raw", ">= 0.9x", "fio on raw", read_row(["--random=1"], 0.9, "fio")),
    Row("4k sequential reads, O_DIRECT, to raw", ">= 0.97x", "fio on raw", read_row([], 0.97, "fio", 40_000, True)),
    Row("4k random reads, O_DIRECT, to raw", ">= 0.97x", "fio on raw",
        read_row(["--random=1"], 0.97, "fio", 40_000, True)),
    Row("4k writes that all allocate", ">= 3x", "qemu-img bench -w",
        fresh_write_row(["-s", "4k", "-S", "64k"], 3.0, 20_000)),
    Row("64k allocating writes, O_DIRECT", ">= 1.5x", "qemu-img bench -w",
        fresh_write_row(["-s", "64k", "-t", "none"], 1.5, 8_000)),
    Row("4k writes into existing clusters", ">= 1.3x", "qemu-img bench -w", overwrite_row(1.3)),
    Row("4k copy on write over a backing file", ">= 1.5x", "qemu-img bench -w", cow_row(1.5)),
    Row("4k copy on write, extended L2", ">= 5x", "without extended L2", subcluster_row(5.0)),
    Row("4k reads, 1/8 of the L2 tables cached", ">= 1.2x", "qemu-img bench", small_cache_row(1.2)),
    Row("L2 cache of any size", ">= 1x", "its minimum", cache_never_slower),
    Row("cost of a cache hit", "<= 30 ns", "-", cache_hit),
]

