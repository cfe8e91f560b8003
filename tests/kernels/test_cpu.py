"""The CPU's caches: as the system reports them, or common ones; and the block sizes by them."""

import os
from pathlib import Path

import pytest

from kernels.intrinsics import caches as module
from kernels.intrinsics.caches import COMMON, Cache, Caches, caches, credible
from kernels.product import block_sizes
from kernels.product.block_sizes import CACHES, SIZES, BlockSizes, sizes_for
from kernels.product.tile_sizes import TILES

K = 1024
NAMES = ("level", "type", "size", "ways_of_associativity", "shared_cpu_list")
ICE_LAKE = {
    "index0": ("1", "Data", "48K", "12", "0,32"),
    "index1": ("1", "Instruction", "32K", "8", "0,32"),
    "index2": ("2", "Unified", "1280K", "20", "0,32"),
    "index3": ("3", "Unified", "49152K", "12", "0-15,32-47"),
}
FIRST, SECOND, THIRD = Cache(48 * K, 12), Cache(1280 * K, 20), Cache(3072 * K, 12)


def written(folder, files):
    for index, values in files.items():
        (folder / index).mkdir()
        for name, value in zip(NAMES, values, strict=False):
            (folder / index / name).write_text(value + "\n")
    return str(folder)


@pytest.fixture(autouse=True)
def linux(monkeypatch):
    monkeypatch.setattr(module.sys, "platform", "linux")


def test_each_level_is_read_and_shared_ones_are_divided_by_cores(tmp_path):
    assert caches(written(tmp_path, ICE_LAKE)) == Caches(FIRST, SECOND, THIRD)


@pytest.mark.parametrize(
    "second",
    [
        ("2", "Unified", "1280K"),
        ("2", "Unified", "1280K", "0"),
        ("2", "Unified", "1280K", "-20"),
        ("2", "Unified", "1280K", ""),
        ("2", "Unified", "0K", "20"),
        ("2", "Unified", "-4K", "20"),
        ("2", "Unified", "1281K", "20"),  # no whole number of sets
        ("2", "Unified", "40K", "20"),  # less than level 1
        ("2", "Unified", "131072K", "16"),
        ("2", "Instruction", "1280K", "20"),
        ("", "", "", ""),
        ("2", "Unified", "1280\u00b3K", "20"),
    ],
)
def test_what_makes_no_sense_is_not_taken(tmp_path, second):
    found = caches(written(tmp_path, ICE_LAKE | {"index2": second}))
    assert found == Caches(FIRST, COMMON.level_2, THIRD)


def test_a_machine_that_hides_its_caches_has_common_ones(tmp_path):
    assert caches(str(tmp_path / "none")) == COMMON
    only_second = {"index2": ("2", "Unified", "8M", "16", "nonsense")}
    assert caches(written(tmp_path, only_second)) == Caches(
        COMMON.level_1, Cache(8192 * K, 16), Cache(8192 * K, 16)
    )


def test_no_part_of_a_shared_cache_is_less_than_the_level_before():
    many = {1: (FIRST, 1), 2: (SECOND, 1), 3: (THIRD, 64)}
    assert credible(many).level_3 == Cache(1280 * K // (12 * 64) * 12 * 64, 12)
    assert credible(many | {3: (THIRD, 0)}).level_3 == COMMON.level_3


def test_macos_is_asked_for_the_fast_cores(monkeypatch):
    says = {"l1dcachesize": 128 * K, "l2cachesize": 12 * K * K, "cpusperl2": 4}
    says = {f"hw.perflevel0.{name}": value for name, value in says.items()}
    monkeypatch.setattr(module.sys, "platform", "darwin")
    monkeypatch.setattr(module, "_sysctl", lambda name: says.get(name, 0))
    found = caches()
    assert found == Caches(Cache(128 * K, 8), Cache(3072 * K, 16), COMMON.level_3)


@pytest.mark.skipif(os.name != "posix", reason="other systems have no such files")
def test_this_machine_has_what_its_files_say():
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    levels = [path.read_text().strip() for path in folder.glob("index*/level")]
    for level, (cache, common) in enumerate(zip(CACHES, COMMON, strict=True), 1):
        assert cache.size >= cache.ways > 0
        assert str(level) in levels or cache.ways == common.ways


@pytest.mark.parametrize(
    ("instructions", "levels", "sizes"),
    [
        pytest.param(
            *("avx512", (48, 12, 1280, 20, 24 * K, 12)),
            BlockSizes(2, 848, 96, 256, 128, 2048, 640 * K),
            id="Ice Lake server, two cores",
        ),
        pytest.param(
            *("avx512", (32, 8, 1024, 8, 4 * K, 16)),
            BlockSizes(2, 672, 96, 256, 80, 1536, 512 * K),
            id="Zen 4",
        ),
        pytest.param(
            *("avx512", (32, 8, 1024, 16, 1408, 11)),
            BlockSizes(2, 672, 96, 256, 80, 1024, 512 * K),
            id="Skylake-X",
        ),
        pytest.param(
            *("avx2", (32, 8, 512, 8, 4 * K, 16)),
            BlockSizes(1, 336, 96, 256, 168, 2048, 512 * K),
            id="Zen 3",
        ),
        pytest.param(
            *("avx2", (32, 8, 256, 8, 2 * K, 16)),
            BlockSizes(1, 336, 48, 168, 168, 1536, 512 * K),
            id="Haswell",
        ),
        pytest.param(
            *("neon", (128, 8, 3 * K, 12, 4 * K, 16)),
            BlockSizes(1, 1024, 192, 256, 256, 1024, 1536 * K),
            id="Apple M1",
        ),
        pytest.param(
            *("neon", (64, 4, 1024, 8, 1024, 16)),
            BlockSizes(1, 1024, 64, 240, 256, 1024, 512 * K),
            id="Graviton 3",
        ),
        pytest.param(
            *("any", (32, 8, 256, 8, 2 * K, 16)),
            BlockSizes(1, 672, 24, 84, 256, 1024, 512 * K),
            id="SSE",
        ),
    ],
)
def test_what_the_formulas_give(instructions, levels, sizes):
    """And a panel and a chunk of A fit together where they have to stay."""
    one, one_ways, two, two_ways, three, three_ways = levels
    found = Caches(Cache(one * K, one_ways), Cache(two * K, two_ways), Cache(three * K, three_ways))
    tile = TILES[instructions]
    assert sizes_for(instructions, tile, found) == sizes
    panel = sizes.depth * tile.row_bytes
    assert panel <= found[sizes.near - 1].size
    assert panel + sizes.chunk * sizes.depth * 4 <= found.level_2.size // 2
    assert sizes.chunk % tile.rows == sizes.long_chunk % tile.rows == 0


def test_measurements_go_before_formulas(monkeypatch):
    found = Caches(FIRST, SECOND, THIRD)
    by_formulas = sizes_for("avx512", TILES["avx512"], found)
    monkeypatch.setitem(
        block_sizes.EXCEPTIONS, ("avx512", 48 * K, 1280 * K), {"depth": by_formulas.depth + 16}
    )
    measured = sizes_for("avx512", TILES["avx512"], found)
    assert measured.depth == by_formulas.depth + 16
    assert measured.chunk == by_formulas.chunk
    assert sizes_for("avx2", TILES["avx2"], found).depth == 512


def test_code_that_holds_other_sizes_is_another_entry_of_the_cache(python):
    script = (
        "import kernels, kernels.runtime.cache as cache, kernels.product.block_sizes as sizes\n"
        "before = cache._key()\n"
        "at = cache._added.index((sizes.CACHES, sizes.SIZES))\n"
        "cache._added[at] = (sizes.CACHES._replace(level_1=sizes.CACHES.level_3), sizes.SIZES)\n"
        "print(before != cache._key())"
    )
    assert python(script).strip() == "True"
    assert SIZES.depth > 0
