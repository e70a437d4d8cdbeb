"""What a process of the proxy sets before its loop runs."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# Blocks of a size that glibc takes from its heap once it has seen a larger one freed; small ones between them stay, and hold
# the heap where it is.
HOLES = """
import sys
from proxy_core.loop import give_memory_back

if sys.argv[1] == "back":
    give_memory_back()
block = b"x" * (8 << 20)
del block
blocks, pins = [], []
for _ in range(40):
    blocks.append(b"x" * (2 << 20))
    pins.append(b"x" * 5000)
blocks.clear()
status = open("/proc/self/status").read()
print(int(status.split("VmRSS:")[1].split()[0]) // 1024)
"""


def mebibytes(how: str, **environment: str) -> int:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}
    done = subprocess.run(
        [sys.executable, "-c", HOLES, how], env={**clean, **environment}, capture_output=True, text=True, check=True, timeout=60
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="what is set is glibc's")
def test_memory_goes_back_when_it_is_freed() -> None:
    left, back = mebibytes("left alone"), mebibytes("back")
    assert left > 80  # it is about what it is for: a heap of holes
    assert back < left - 60
    for name, value in {"MALLOC_MMAP_THRESHOLD_": "33554432", "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=33554432"}.items():
        assert mebibytes("back", **{name: value}) > 80, name  # who sets it by the environment has it as set
