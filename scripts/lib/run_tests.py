#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Builds and runs the test suites that meson knows, counts test cases, prints the sum as the last line.

Each suite runs in the build that finds most with it: unit and image under ASan and UBSan, threads under
TSan, sandbox and guest in the release build (the one that users run). Only what a suite needs is built there.

No test compiles, downloads or makes images within its time limit: what it needs of a build is among its "depends:",
and where its environment has PREPARE, the test is run once with that argument first, without a limit.
"""

import concurrent.futures
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import debian
import test_results
from log import Failure, run_main, say
from test_results import Results


@dataclasses.dataclass(frozen=True)
class Build:
    """A build directory, how it is set up, and the suites that run in it."""
    directory: str
    options: tuple
    suites: tuple


# "g" takes two thirds of the time that "1" takes to compile, and keeps the lines in reports exact.
BUILDS = (
    Build("build-asan", ("-Db_sanitize=address,undefined", "-Db_lundef=false", "-Doptimization=g"), ("unit", "image")),
    Build("build-tsan", ("-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=g"), ("threads",)),
    Build("build", (), ("sandbox", "guest", "fuzz")),
)

# Limits are for tests that hang, and not for machines that are slow: none is shorter than this.
LEAST_LIMIT = 1200

ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


def run_quietly(*command):
    """Runs a build step; shows its output where it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.stderr.write(done.stdout)
        raise Failure(f"{' '.join(command[:4])} ... failed")
    return done.stdout


def introspect(build, what):
    return json.loads(run_quietly("meson", "introspect", build.directory, f"--{what}"))


def set_up(build, werror):
    if not os.path.exists(os.path.join(build.directory, "build.ninja")):
        say(f"configuring {build.directory}")
        run_quietly("meson", "setup", build.directory, *build.options, *(["-Dwerror=true"] if werror else []))
        return
    run_quietly("ninja", "-C", build.directory, "build.ninja")  # meson.build may have changed
    if werror and not any(option["name"] == "werror" and option["value"] for option in introspect(build, "buildoptions")):
        run_quietly("meson", "configure", build.directory, "-Dwerror=true")


def tests_of(build, suites):
    """The tests of meson's in those suites, in meson's order."""
    wanted = {f"vmm:{suite}" for suite in suites}
    tests = [test for test in introspect(build, "tests") if wanted.intersection(test["suite"])]
    return sorted(tests, key=lambda test: -test["priority"])


def compile_for(build, tests):
    """Builds what the tests need and nothing else."""
    files = {target["id"]: target["filename"] for target in introspect(build, "targets")}
    root = os.path.realpath(build.directory)
    paths = sorted({os.path.relpath(os.path.realpath(path), root)
                    for test in tests for need in test["depends"] for path in files.get(need, [])})
    if paths:
        say(f"building {len(paths)} targets in {build.directory}")
        run_quietly("ninja", "-C", build.directory, *paths)


def prepare(tests):
    """Lets those tests that ask for it download and make what they need. A test will say itself what it misses."""
    for test in tests:
        if "PREPARE" in test["env"]:
            say(f"preparing {test['name']}")
            done = subprocess.run([*test["cmd"], test["env"]["PREPARE"]], stdin=subprocess.DEVNULL, check=False,
                                  env={**os.environ, **ENVIRONMENT, **test["env"]})
            if done.returncode:
                say(f"preparing {test['name']}: status {done.returncode}")


def without_aslr():
    """A prefix that turns address randomisation off where that is allowed: the sanitizers of g++ 12 do not know
    the large randomisation of newer kernels."""
    prefix = ["setarch", os.uname().machine, "--addr-no-randomize"]
    if shutil.which("setarch") and subprocess.run(prefix + ["true"], capture_output=True).returncode == 0:
        return prefix
    return []


def is_catch(program):
    """Whether a program is one of Catch2's, by the banner that its main prints."""
    with open(program, "rb") as file:
        data = file.read()
    return data.startswith(b"\x7fELF") and b"is a Catch" in data


def run_test(build, test, prefix):
    """Runs one of meson's tests; returns (Results, its output, seconds)."""
    needed = test["env"].get("NEEDS")
    if needed and not os.access(needed, os.R_OK | os.W_OK):
        return Results(skipped=1), f"{needed} is not there or may not be used", 0
    command = list(test["cmd"])
    limit = max(test["timeout"], LEAST_LIMIT) if test["timeout"] > 0 else None
    environment = {**os.environ, **ENVIRONMENT, **test["env"]}
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        report = None
        if test["protocol"] == "exitcode" and is_catch(command[0]):
            report = os.path.join(scratch, "report.xml")
            command += ["-r", "xml", "-o", report]
        with subprocess.Popen(prefix + command, cwd=test["workdir"] or build.directory, env=environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True) as process:
            try:
                output = process.communicate(timeout=limit)[0].decode(errors="replace")
                late = False
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                try:
                    output = process.communicate(timeout=5)[0].decode(errors="replace")
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
                    output = process.communicate()[0].decode(errors="replace")
                late = True
        status = process.returncode
        name = test["name"]
        if report:
            results = test_results.from_catch(name, report, status)
        elif test["protocol"] == "tap":
            results = test_results.from_tap(name, output, status)
        else:
            results = test_results.from_status(name, status)
    if late:
        results.details.append(f"{name}: stopped after {limit} s")
        results.failed = max(results.failed, 1)
    return results, output, time.monotonic() - started


def report(build, test, outcome, total):
    results, output, seconds = outcome
    suites = ",".join(suite.split(":")[1] for suite in test["suite"])
    print(f"{'FAIL' if results.failed else 'ok':4} {build.directory} {suites} {test['name']}: {results} ({seconds:.1f} s)",
          flush=True)
    if results.failed:
        for line in output.splitlines()[-60:]:
            print(f"  | {line}")
        for detail in results.details:
            print(f"  {detail}", flush=True)
    total.add(results)


def run_build(build, suites, werror, total):
    set_up(build, werror)
    tests = tests_of(build, suites)
    compile_for(build, tests)
    prepare(tests)
    prefix = without_aslr() if build.options else []
    together = [test for test in tests if test["is_parallel"]]
    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        running = {pool.submit(run_test, build, test, prefix): test for test in together}
        for future in concurrent.futures.as_completed(running):
            report(build, running[future], future.result(), total)
    for test in tests:
        if not test["is_parallel"]:
            report(build, test, run_test(build, test, prefix), total)


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
    known = [suite for build in BUILDS for suite in build.suites]
    wanted = [argument for argument in sys.argv[1:] if argument != "--werror"] or known
    werror = "--werror" in sys.argv[1:]
    if werror:
        os.environ["VMM_WERROR"] = "true"  # for scripts/fuzz, which has a build of its own
    if "fuzz" in wanted:
        debian.install_packages("fuzz")
    unknown = [suite for suite in wanted if suite not in known]
    if unknown:
        raise Failure(f"no suite {unknown[0]}; there are {', '.join(known)}")
    total = Results()
    started = time.monotonic()
    for build in BUILDS:
        suites = [suite for suite in build.suites if suite in wanted]
        if not suites:
            continue
        try:
            run_build(build, suites, werror, total)
        except Failure as failure:
            print(f"FAIL {build.directory}: {failure}", flush=True)
            total.fail(f"{build.directory}: {failure}")
    say(f"{time.monotonic() - started:.0f} s")
    if total.failed:
        print("failed:")
        for detail in total.details:
            print(f"  {detail.splitlines()[0]}")
    print(total, flush=True)
    return 1 if total.failed else 0


if __name__ == "__main__":
    run_main(main)
