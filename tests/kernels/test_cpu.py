"""The CPU's caches: as Linux reports them, or the common default."""

import os
from pathlib import Path

import pytest

from kernels.intrinsics.cpu import COMMON_LEVEL_2, Cache, level_2

ICE_LAKE = {
    "index0": ("1", "Data", "48K", "12"),
    "index1": ("1", "Instruction", "32K", "8"),
    "index2": ("2", "Unified", "1280K", "20"),
    "index3": ("3", "Unified", "49152K", "12"),
}


def written(folder, caches):
    for index, values in caches.items():
        (folder / index).mkdir()
        names = ("level", "type", "size", "ways_of_associativity")
        for name, value in zip(names, values, strict=False):
            (folder / index / name).write_text(value + "\n")
    return str(folder)


def test_the_second_level_is_read(tmp_path):
    assert level_2(written(tmp_path, ICE_LAKE)) == Cache(1280 * 1024, 20)


@pytest.mark.parametrize(
    "second",
    [
        ("2", "Unified", "1280K"),
        ("2", "Unified", "1280K", "0"),
        ("2", "Unified", "1280K", ""),
        ("2", "Unified", "0K", "20"),
        ("2", "Unified", "-4K", "20"),
        ("2", "Unified", "1M", "20"),
        ("2", "Instruction", "1280K", "20"),
        ("", "", "", ""),
        ("2", "Unified", "1280\u00b3K", "20"),
    ],
)
def test_what_makes_no_sense_is_not_taken(tmp_path, second):
    assert level_2(written(tmp_path, ICE_LAKE | {"index2": second})) == COMMON_LEVEL_2


def test_a_system_that_says_nothing_has_the_common_one(tmp_path):
    assert level_2(str(tmp_path / "none")) == COMMON_LEVEL_2


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such files")
def test_this_machine_has_what_its_files_say():
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    levels = [path.read_text().strip() for path in folder.glob("index*/level")]
    assert level_2().size >= level_2().ways > 0
    assert levels.count("2") or level_2() == COMMON_LEVEL_2
