#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Uses `vmm disk` and qemu-img on the same images, and compares what they say and what they make.

Usage: compare_img.py VMM [TEST...]
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

FAILURES = []


class Tools:
    """Both programs, in one folder of images."""

    def __init__(self, vmm, folder):
        self.vmm = [os.path.abspath(vmm), "disk"]
        self.folder = folder

    def run(self, *command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True,
                              timeout=120, check=False)
        return done.returncode, done.stdout, done.stderr

    def ours(self, *arguments):
        return self.run(*self.vmm, *arguments)

    def theirs(self, *arguments):
        return self.run("qemu-img", *arguments)

    def must(self, *arguments):
        """Runs ours; it has to succeed."""
        status, out, err = self.ours(*arguments)
        if status != 0:
            fail(arguments, f"status {status}\n{out}{err}")
        return out

    def fixture(self, *arguments):
        status, out, err = self.theirs(*arguments)
        assert status == 0, (arguments, out, err)

    def write(self, image, *commands):
        arguments = ["qemu-io"]
        for command in commands:
            arguments += ["-c", command]
        status, out, err = self.run(*arguments, *image.split())
        assert status == 0, (image, commands, out, err)

    def path(self, name):
        return os.path.join(self.folder, name)


def fail(what, why):
    FAILURES.append(what)
    print(f"--- {what}\n{why}")


def expect(what, condition, why=""):
    if not condition:
        fail(what, why)


def same(tools, *arguments):
    """The same arguments to both: equal output and exit status."""
    mine, reference = tools.ours(*arguments), tools.theirs(*arguments)
    if mine[0] != reference[0] or mine[1] != reference[1]:
        fail(arguments, f"qemu-img: {reference}\nhere:     {mine}")


def same_json(tools, *arguments):
    mine, reference = tools.ours(*arguments), tools.theirs(*arguments)
    if mine[0] != reference[0] or json.loads(mine[1]) != json.loads(reference[1]):
        fail(arguments, f"qemu-img: {reference}\nhere:     {mine}")


def same_contents(tools, what, *images):
    status, out, err = tools.theirs("compare", *images)
    expect(what, status == 0, out + err)


def intact(tools, what, image):
    for program in (tools.theirs, tools.ours):
        status, out, err = program("check", image)
        expect(what, status == 0, out + err)


def make_images(tools):
    """Images that have some of everything."""
    tools.fixture("create", "-q", "-f", "qcow2", "base", "1M")
    tools.write("base", "write -q 0 64k", "write -q -z 128k 64k", "write -q -c 256k 64k",
                "write -q 512k 64k")
    tools.fixture("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "overlay", "2M")
    tools.write("overlay", "write -q -P 9 64k 64k", "write -q -P 3 1500k 10k")
    tools.fixture("create", "-q", "-f", "qcow2", "-o",
                  "cluster_size=128k,extended_l2=on,refcount_bits=64,compression_type=zstd",
                  "subclusters", "8M")
    tools.write("subclusters", "write -q -P 1 4k 4k", "write -q -P 2 1M 1M", "write -q -c 3M 128k")
    tools.fixture("create", "-q", "-f", "qcow2", "-o", "compat=0.10,cluster_size=4k", "old", "3M")
    tools.write("old", "write -q -P 1 0 100k", "write -q -P 2 2M 3k")
    tools.fixture("create", "-q", "-f", "qcow2", "-o", "data_file=payload,data_file_raw=on",
                  "external", "2M")
    tools.write("external", "write -q -P 4 100k 100k")
    with open(tools.path("raw"), "wb") as raw:
        raw.truncate(1 << 20)
        raw.seek(64 << 10)
        raw.write(b"x" * (64 << 10))


QCOW2 = ["base", "overlay", "subclusters", "old", "external"]


def test_looking(tools):
    for image in QCOW2:
        same(tools, "info", image)
        same_json(tools, "info", "--output", "json", image)
        same_json(tools, "map", "--output", "json", image)
        same(tools, "map", image)
        same(tools, "check", image)
        same_json(tools, "check", "--output", "json", image)
    same(tools, "info", "-f", "raw", "raw")
    same(tools, "map", "-f", "raw", "raw")
    same_json(tools, "map", "--output", "json", "-s", "10000", "-l", "100000", "overlay")
    same(tools, "check", "-f", "raw", "raw")
    same_json(tools, "info", "--backing-chain", "--output", "json", "overlay")
    same(tools, "info", "--backing-chain", "overlay")


def test_links(tools):
    """Under the names of others the program is what they say."""
    for name in ("vmm-img", "vmm-io", "qemu-img", "qemu-io"):
        os.symlink(tools.vmm[0], tools.path(name))
    mine, reference = tools.run("./vmm-img", "info", "base"), tools.theirs("info", "base")
    expect("vmm-img", mine == reference, f"{reference}\n{mine}")
    status, out, err = tools.run("./vmm-io", "-c", "read -P 205 0 64k", "base")
    expect("vmm-io", status == 0 and "read 65536/65536" in out, out + err)
    mine = tools.run("./qemu-io", "-f", "raw", "-c", "length", "-f", "qcow2", "base")
    expect("of an option given twice the last counts", mine == tools.run("qemu-io", "-f", "raw", "-c", "length", "-f", "qcow2", "base"), mine)
    _, _, err = tools.run("./qemu-img", "create", "-o", "size=1M", "twice", "2M")
    expect("a link's errors", err == "qemu-img: twice: The image size must be specified only once\n", err)


def test_info_opens_nothing_the_image_names(tools):
    tools.fixture("create", "-q", "-f", "qcow2", "-u", "-b", "gone", "-F", "raw", "lost", "1M")
    same(tools, "info", "lost")
    tools.fixture("create", "-q", "-f", "qcow2", "-o", "data_file=moved", "homeless", "1M")
    os.unlink(tools.path("moved"))
    out = tools.must("info", "homeless")
    expect("info without the data file", "data file: moved" in out, out)


def test_compare(tools):
    tools.fixture("convert", "-O", "raw", "base", "base.raw")
    shutil.copy(tools.path("base"), tools.path("longer"))
    tools.fixture("resize", "-q", "longer", "2M")
    shutil.copy(tools.path("longer"), tools.path("tail"))
    tools.write("tail", "write -q 1500k 1k")
    for pair in (["base", "base"], ["base", "overlay"], ["base", "longer"], ["base", "tail"],
                 ["tail", "base"], ["base", "base.raw"], ["-q", "base", "overlay"],
                 ["-s", "base", "longer"], ["-s", "base", "base.raw"]):
        same(tools, "compare", *pair)
    expect("compare with nothing", tools.ours("compare", "base", "gone")[0] == 2)


def test_create(tools):
    for number, options in enumerate([
            ["-f", "qcow2"], ["-f", "raw"], ["-f", "raw", "-o", "preallocation=full"],
            ["-f", "qcow2", "-o", "cluster_size=512"], ["-f", "qcow2", "-o", "compat=0.10"],
            ["-f", "qcow2", "-o", "cluster_size=2M,refcount_bits=1,lazy_refcounts=on"],
            ["-f", "qcow2", "-o", "extended_l2=on,compression_type=zstd"],
            ["-f", "qcow2", "-o", "preallocation=metadata"],
            ["-f", "qcow2", "-o", "preallocation=falloc"],
            ["-f", "qcow2", "-o", "preallocation=full"],
            ["-f", "qcow2", "-b", "base", "-F", "qcow2"],
            ["-f", "qcow2", "-o", "backing_file=base,backing_fmt=qcow2,refcount_bits=8"],
            ["-f", "qcow2", "-o", "data_file=new-payload,data_file_raw=on"]]):
        name = f"new{number}"
        mine, reference = [tools.ours("create", *options, name, "5M"),
                           tools.theirs("create", *options, name + "q", "5M")]
        expect(options, mine[1] == reference[1].replace(name + "q", name),
               f"{reference}\n{mine}")
        if "qcow2" in options:
            intact(tools, options, name)
            info = [json.loads(tools.theirs("info", "--output", "json", image)[1])
                    for image in (name, name + "q")]
            for each in info:
                del each["filename"], each["actual-size"]
            expect(options, info[0] == info[1], str(info))
        same_contents(tools, options, name, name + "q")
    for options in (["-o", "cluster_size=100"], ["-o", "unknown=1"], ["-b", "base"],
                    ["-o", "compat=0.10,refcount_bits=8"], ["-b", "gone", "-F", "raw"]):
        status = tools.ours("create", "-f", "qcow2", *options, "refused", "1M")[0]
        expect(options, status == 1)
        expect(options, not os.path.exists(tools.path("refused")), "it left a file")


def test_check_finds_and_repairs(tools):
    """A cluster that nothing uses has a refcount; then one in use has none."""
    shutil.copy(tools.path("base"), tools.path("leaky"))
    with open(tools.path("leaky"), "r+b") as image:
        image.seek(48)
        table = int.from_bytes(image.read(8), "big")
        image.seek(table)
        block = int.from_bytes(image.read(8), "big")
        image.seek(0, os.SEEK_END)
        cluster = (image.tell() + 65535) // 65536
        image.truncate((cluster + 1) * 65536)
        image.seek(block + 2 * cluster)
        image.write(b"\0\1")
    same(tools, "check", "leaky")
    same_json(tools, "check", "--output", "json", "leaky")
    shutil.copy(tools.path("leaky"), tools.path("corrupt"))
    with open(tools.path("corrupt"), "r+b") as image:
        image.seek(block + 2 * 5)
        image.write(b"\0\0")
    expect("check: corrupt", tools.ours("check", "corrupt")[0] == 2)
    expect("check: leaks", tools.ours("check", "leaky")[0] == 3)
    tools.must("check", "-r", "leaks", "leaky")
    tools.must("check", "-r", "all", "corrupt")
    for image in ("leaky", "corrupt"):
        intact(tools, f"repaired {image}", image)
        same_contents(tools, f"repaired {image}", "base", image)


def test_snapshots(tools):
    shutil.copy(tools.path("base"), tools.path("history"))
    tools.must("snapshot", "-c", "one", "history")
    tools.write("history", "write -q -P 7 0 300k")
    tools.must("snapshot", "-c", "two words", "history")
    same(tools, "snapshot", "-l", "history")
    same(tools, "info", "history")
    intact(tools, "snapshots", "history")
    tools.must("snapshot", "-a", "one", "history")
    same_contents(tools, "applied", "base", "history")
    tools.must("snapshot", "-d", "one", "history")
    tools.must("snapshot", "-a", "2", "history")
    tools.write("history", "read -q -P 7 0 300k")
    intact(tools, "snapshots", "history")
    for action in ("-a", "-d"):
        expect("no such snapshot", tools.ours("snapshot", action, "three", "history")[0] == 1)


def test_resize(tools):
    for image, reference in (("base", "q"), ("raw", "q")):
        kind = ["-f", "raw"] if image == "raw" else []
        for name in ("grown", "grown" + reference):
            shutil.copy(tools.path(image), tools.path(name))
        for words in (["20M"], ["+1M"], ["10M"], ["--shrink", "10M"], ["-1M"],
                      ["--shrink", "-9500k"], ["1x"], ["-q", "3M"]):
            mine = tools.ours("resize", *kind, *words[:-1], "grown", words[-1])
            wanted = tools.theirs("resize", *kind, *words[:-1], "grown" + reference, words[-1])
            expect((image, words), mine[:2] == wanted[:2], f"{wanted}\n{mine}")
            same_contents(tools, (image, words), "-s", "grown", "grown" + reference)


def test_growing_with_preallocation(tools):
    """Also where the added clusters take the place of deleted data."""
    for how in ("metadata", "falloc", "full"):
        tools.fixture("create", "-q", "-f", "qcow2", "grown", "2M")
        tools.write("-d unmap grown" if how == "falloc" else "grown", "write -q -P 9 0 2M")
        tools.must("resize", "--shrink", "grown", "1000448")
        tools.fixture("convert", "-O", "raw", "grown", "wanted")
        tools.fixture("resize", "-q", "-f", "raw", "wanted", "9M")
        tools.must("resize", "--preallocation", how, "grown", "9M")
        same_contents(tools, ("grown", how), "wanted", "grown")
        intact(tools, ("grown", how), "grown")
        tail = json.loads(tools.must("map", "--output", "json", "grown"))[-1]
        expect(("has its place", how), "offset" in tail and tail["start"] + tail["length"] == 9 << 20, str(tail))
    expect("with a backing file", tools.ours("resize", "--preallocation", "full", "overlay", "+1M")[0] == 1)


def test_commit_and_rebase(tools):
    for name in ("base", "overlay"):
        shutil.copy(tools.path(name), tools.path(name + "-kept"))
    tools.fixture("convert", "-O", "raw", "overlay", "wanted")
    tools.fixture("create", "-q", "-f", "raw", "other", "700k")
    tools.write("-f raw other", "write -q -P 5 0 500k")
    for backing, kind in (("other", "raw"), ("", ""), ("base-kept", "qcow2")):
        arguments = ["-F", kind] if kind else []
        tools.must("rebase", "-b", backing, *arguments, "overlay-kept")
        same_contents(tools, ("rebase", backing), "wanted", "overlay-kept")
        intact(tools, ("rebase", backing), "overlay-kept")
    tools.must("rebase", "-u", "-b", "gone", "-F", "raw", "overlay-kept")
    expect("rebase -u", "backing file: gone" in tools.must("info", "overlay-kept"))
    expect("commit", tools.must("commit", "overlay") == "Image committed.\n")
    for image in ("base", "overlay"):
        same_contents(tools, "commit", "wanted", image)
        intact(tools, "commit", image)
    expect("commit of no overlay", tools.ours("commit", "base")[0] == 1)


def test_commit_into_a_deeper_layer(tools):
    """Layers of several sizes: a shorter one in the middle hides what is longer below it."""
    sizes = {"deep-0": "4M", "deep-1": "3M", "deep-2": "2M", "deep-3": "5M"}
    for number, (image, size) in enumerate(sizes.items()):
        backing = ["-b", f"deep-{number - 1}", "-F", "qcow2"] if number else []
        tools.fixture("create", "-q", "-f", "qcow2", *backing, image, size)
        tools.write(image, f"write -q -P {number + 1} {number * 300}k 1M", f"write -q -z {number * 500}k 64k",
                    f"write -q -P {number + 10} {int(size[0]) - 1}M 1M")
    tools.fixture("convert", "-O", "raw", "deep-3", "wanted")
    for name in ("gone", "deep-3"):
        expect(("commit -b", name), tools.ours("commit", "-b", name, "deep-3")[0] == 1)
    expect("commit -b", tools.must("commit", "-b", "deep-0", "deep-3") == "Image committed.\n")
    for image in ("deep-0", "deep-3"):
        same_contents(tools, "commit -b", "wanted", image)
        intact(tools, "commit -b", image)


def test_convert(tools):
    targets = ["-O raw", "-O qcow2", "-c -O qcow2", "-c -O qcow2 -o compression_type=zstd",
               "-W -m 16 -O qcow2", "-m 1 -O qcow2", "-S 0 -O qcow2", "-S 64k -O raw",
               "-O qcow2 -o cluster_size=512", "-c -O qcow2 -o cluster_size=2M",
               "-O qcow2 -o extended_l2=on,cluster_size=128k", "-t none -T none -O qcow2"]
    for source in QCOW2 + ["raw"]:
        for options in targets:
            what = f"convert {options} {source}"
            tools.must("convert", *options.split(), source, "out")
            same_contents(tools, what, source, "out")
            if "qcow2" in options:
                intact(tools, what, "out")
            os.unlink(tools.path("out"))
    tools.must("convert", "-O", "qcow2", "-B", "base", "-F", "qcow2", "overlay", "out")
    same_contents(tools, "convert -B", "overlay", "out")
    expect("convert -B copies no more than the overlay",
           '"depth": 1' in tools.must("map", "--output", "json", "out"))
    tools.must("create", "-q", "-f", "qcow2", "full", "2M")
    tools.write("full", "write -q -P 8 0 2M")
    tools.must("convert", "-n", "-O", "qcow2", "overlay", "full")
    same_contents(tools, "convert -n", "overlay", "full")
    tools.must("convert", "base", "raw", "joined")
    tools.fixture("convert", "base", "raw", "joinedq")
    same_contents(tools, "convert of two", "joined", "joinedq")
    for options in (["-c", "-O", "raw", "base"], ["-m", "99", "base"], ["gone"], ["-S", "100", "base"],
                    ["-O", "qcow2", "-B", "base", "-F", "qcow2", "base", "overlay"]):
        expect(options, tools.ours("convert", *options, "refused")[0] == 1)


def test_a_raw_file_that_ends_inside_a_sector(tools):
    with open(tools.path("odd"), "wb") as odd:
        odd.write(b"z" * 65537)
    raw = ["-f", "raw", "odd"]
    same(tools, "info", *raw)
    same_json(tools, "map", "--output", "json", *raw)
    tools.must("convert", "-f", "raw", "-O", "qcow2", "odd", "out")
    same_contents(tools, "convert of an odd file", "-f", "raw", "-F", "qcow2", "odd", "out")
    for command in ("read -P 0x7a 65536 1", "read -P 0 65537 511", "write -P 1 65540 4", "write -P 1 66048 1"):
        mine = tools.ours("io", "-f", "raw", "-c", command, "odd")
        reference = tools.run("qemu-io", "-f", "raw", "-c", command, "odd")
        expect(command, mine[0] == reference[0], f"{reference}\n{mine}")
    expect("nothing before it was lost", tools.run("qemu-io", "-f", "raw", "-c", "read -P 0x7a 0 65537", "odd")[0] == 0)
    same(tools, "resize", "-f", "raw", "--shrink", "--preallocation=falloc", "odd", "1k")


def test_convert_into_an_overlay(tools):
    """What the new backing file has, and the zeros behind its end, stay out."""
    tools.fixture("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "longer", "64M")
    tools.write("longer", "write -q -P 7 0 4k", "write -q -P 8 40M 4k")
    # Version 2 has no zero clusters: zeros that are written take space.
    for options in (["-B", "base", "-F", "qcow2"], ["-o", "backing_file=base,backing_fmt=qcow2"]):
        tools.must("convert", "-O", "qcow2", "-o", "compat=0.10", *options, "longer", "out")
        same_contents(tools, options, "longer", "out")
        intact(tools, options, "out")
        extents = json.loads(tools.must("map", "--output", "json", "out"))
        stored = sum(extent["length"] for extent in extents if extent["depth"] == 0 and extent["data"])
        expect(options, stored == 128 << 10, extents)
        os.unlink(tools.path("out"))


def test_concatenation_compressed(tools):
    """Clusters of the target that begin in one source and end in the next."""
    for number, size in enumerate((1023, 3, 0, 1023)):
        tools.fixture("create", "-q", "-f", "qcow2", "-o", "cluster_size=1024", f"part-{number}", f"{size}k")
        if size:
            tools.write(f"part-{number}", f"write -q -P {number + 1} {size - 3}k 2k")
    parts = [f"part-{number}" for number in range(4)]
    tools.fixture("convert", "-O", "raw", *parts, "wanted-join")
    for options in (["-c"], ["-c", "-S", "0"], ["-c", "-W", "-m", "16"], ["-m", "1"]):
        tools.must("convert", "-O", "qcow2", *options, *parts, "out")
        same_contents(tools, options, "-f", "raw", "-F", "qcow2", "wanted-join", "out")
        intact(tools, options, "out")
        if "0" in options:
            extents = json.loads(tools.must("map", "--output", "json", "out"))
            expect("-S 0 leaves nothing out", all(extent["data"] for extent in extents), extents)
        os.unlink(tools.path("out"))


def test_qcow1(tools):
    """Version 1 of the format: written here and read there, and the other way round."""
    for name, arguments in (("v1", ["5M"]), ("v1-overlay", ["-b", "base", "2M"])):
        backing = ["-F", "qcow2"] if "-b" in arguments else []
        mine = tools.ours("create", "-f", "qcow", *backing, *arguments[:-1], name, arguments[-1])
        reference = tools.theirs("create", "-f", "qcow", *backing, *arguments[:-1], name + "q", arguments[-1])
        expect(("create", name), mine[1] == reference[1].replace(name + "q", name), f"{reference}\n{mine}")
        with open(tools.path(name), "rb") as ours, open(tools.path(name + "q"), "rb") as theirs:
            expect(("create", name), ours.read() == theirs.read(), "other bytes than qemu-img's")
        written = ["write -P 1 0 10k", "write -P 2 100k 300k", "write -P 3 5000 700", "write -z 200k 5000",
                   "write -P 4 1000k 70k", "discard 110k 50k", "write -P 5 1999k 1k", "flush"]
        for program, image in ((tools.vmm[:1] + ["disk", "io"], name), (["qemu-io"], name + "q")):
            for turn in (written[:4], written[4:]):
                arguments = [word for command in turn for word in ("-c", command)]
                status, out, err = tools.run(*program, "-f", "qcow", *arguments, image)
                expect(("io", image), status == 0 and "failed" not in out, out + err)
        for image in (name, name + "q"):
            tools.write(f"-f qcow {image}", "write -q -P 6 110k 50k")
        same_contents(tools, "qcow1", name, name + "q")
        expect("qcow1 compare", tools.ours("compare", name, name + "q")[0] == 0)
        for image in (name, name + "q"):
            same(tools, "info", image)
            same_json(tools, "info", "--output", "json", image)
            same_json(tools, "map", "--output", "json", image)
            same(tools, "check", image)
        for options in (["-O", "qcow"], ["-c", "-O", "qcow"], ["-c", "-O", "qcow2"], ["-O", "raw"]):
            tools.must("convert", *options, name, "out")
            same_contents(tools, ("qcow1 to", options), name, "out")
            os.unlink(tools.path("out"))
            if options[:3] == ["-c", "-O", "qcow"]:
                continue  # qemu-img 7.2 fails without a word
            tools.fixture("convert", *options, name, "outq")
            expect(("qcow1 from qemu-img", options), tools.ours("compare", name, "outq")[0] == 0)
            os.unlink(tools.path("outq"))
    # Writing over compressed clusters, with a cache that has to give way.
    tools.must("convert", "-c", "-O", "qcow", "v1", "packed")
    shutil.copy(tools.path("packed"), tools.path("packedq"))
    changes = [word for i in range(40) for word in ("-c", f"write -P {i + 1} {i * 130000} 1234")]
    for program, image in ((tools.vmm[:1] + ["disk", "io"], "packed"), (["qemu-io"], "packedq")):
        status, out, err = tools.run(*program, "-f", "qcow", *changes, image)
        expect(("io", image), status == 0 and "failed" not in out, out + err)
    same_contents(tools, "written over compressed clusters", "packed", "packedq")
    tools.fixture("convert", "-O", "raw", "v1-overlay", "wanted")
    expect("qcow1 commit", tools.must("commit", "v1-overlay") == "Image committed.\n")
    for image in ("base", "v1-overlay"):
        same_contents(tools, "qcow1 commit", "wanted", image)
    tools.write("-f qcow v1-overlay", "write -q -P 9 3k 90k")
    expect("written after commit", tools.ours("io", "-c", "read -P 9 3k 90k", "v1-overlay")[0] == 0)
    with open(tools.path("v1"), "r+b") as image:
        image.seek(36)
        image.write(bytes([0, 0, 0, 1]))
    status, _, err = tools.ours("io", "-c", "read 0 1k", "v1")
    expect("AES", status == 1 and "AES" in err, err)
    expect("AES", "AES" in tools.ours("info", "v1")[2])


def test_bench(tools):
    for arguments in (["-c", "1000"], ["-c", "500", "-w", "-d", "4", "--flush-interval", "10"]):
        mine, reference = tools.ours("bench", *arguments, "base"), tools.theirs(
            "bench", *arguments, "base")
        masked = [re.sub(r"\d+\.\d+ seconds", "TIME", out) for out in (mine[1], reference[1])]
        expect(arguments, masked[0] == masked[1] and mine[0] == reference[0], f"{masked}")
    report = json.loads(tools.must("bench", "-c", "1000", "--random=7", "--output", "json", "base"))
    expect("bench json", report["iops"] > 0 and report["l2-cache"]["hits"] > 0, str(report))
    intact(tools, "bench", "base")


TESTS = [test_looking, test_links, test_info_opens_nothing_the_image_names, test_compare, test_create,
         test_check_finds_and_repairs, test_snapshots, test_resize, test_growing_with_preallocation, test_convert,
         test_a_raw_file_that_ends_inside_a_sector, test_convert_into_an_overlay, test_concatenation_compressed,
         test_commit_and_rebase, test_commit_into_a_deeper_layer, test_qcow1, test_bench]


def main():
    if len(sys.argv) < 2:
        print(__doc__)
        return 2
    if shutil.which("qemu-img") is None:
        print("qemu-img is not installed: nothing to compare with")
        return 77
    wanted = [test for test in TESTS if test.__name__ in sys.argv[2:] or len(sys.argv) == 2]
    for test in wanted:
        with tempfile.TemporaryDirectory(prefix="vmm-compare-img-") as folder:
            tools = Tools(sys.argv[1], folder)
            make_images(tools)
            test(tools)
    print(f"{len(wanted)} tests, {len(FAILURES)} differences")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
