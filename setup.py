"""Builds the C++ kernel; everything static about the package stands in pyproject.toml."""

import os
from glob import glob

from pybind11.setup_helpers import WIN, ParallelCompile, Pybind11Extension
from setuptools import setup

# WIN is Microsoft's compiler: MinGW's Python, which builds with GCC, is not meant.
# /O2 and -O3 without any -march: one build runs on every machine of its architecture.
COMPILE_ARGS = ["/O2", "/utf-8"] if WIN else ["-O3", "-Wall", "-Wextra"]
# Rounding is the same on machines with fused multiply-add and without.
FLOAT_ARGS = [] if WIN else ["-ffp-contract=off"]
LINK_ARGS = [] if WIN else ["-pthread"]

# FASTMASK_SANITIZE=address,undefined or =thread: a build that watches itself (make test-asan, make test-tsan).
SANITIZE = os.environ.get("FASTMASK_SANITIZE")
if SANITIZE:
    COMPILE_ARGS = ["-O1", "-g", "-fno-omit-frame-pointer", "-fno-sanitize-recover=all", f"-fsanitize={SANITIZE}"]
    LINK_ARGS += [f"-fsanitize={SANITIZE}"]

ParallelCompile("FASTMASK_BUILD_JOBS", default=0).install()

setup(
    ext_modules=[
        Pybind11Extension(
            "fastmask._core",
            sorted(glob("csrc/**/*.cc", recursive=True)),
            depends=sorted(glob("csrc/**/*.h", recursive=True) + glob("csrc/**/*.inc", recursive=True)),
            cxx_std=17,
            extra_compile_args=COMPILE_ARGS + FLOAT_ARGS,
            extra_link_args=LINK_ARGS,
        )
    ]
)
