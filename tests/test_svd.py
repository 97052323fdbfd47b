"""Decompositions: accuracy, awkward matrices, the fallback, and the store."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from merge_engine.errors import MergeError, WeightsError
from merge_engine.maths import factors as module
from merge_engine.maths.svd import (
    GIB,
    Factors,
    SvdStore,
    decompose,
    default_cache,
    default_limit,
    polar,
    singular_values,
)

SHAPES = [(1, 1), (7, 1), (1, 7), (6, 6), (40, 9), (9, 40)]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def graded(m: int, n: int, smallest: float) -> torch.Tensor:
    """Return a matrix whose singular values fall evenly, on a log scale, from 1 to `smallest`; float64."""
    r = min(m, n)
    left, right = (torch.linalg.qr(noise(k, k, seed=k).double())[0] for k in (m, n))
    s = torch.logspace(0, torch.tensor(smallest).log10().item(), r, dtype=torch.float64)
    return left[:, :r] * s @ right[:r]


def assert_decomposed(matrix: torch.Tensor, tolerance: float = 1e-6) -> None:
    """Orthonormal vectors, descending values as LAPACK's, and the matrix again."""
    U, s, Vh = decompose(matrix)
    r = min(matrix.shape)
    assert [p.shape for p in (U, s, Vh)] == [(matrix.shape[0], r), (r,), (r, matrix.shape[1])]
    assert {p.dtype for p in (U, s, Vh)} == {torch.float32}
    eye = torch.eye(r, dtype=torch.float64)
    assert (U.double().T @ U.double() - eye).abs().max() < tolerance
    assert (Vh.double() @ Vh.double().T - eye).abs().max() < tolerance
    size = max(1e-30, float(matrix.double().norm()))
    assert (torch.linalg.svdvals(matrix.double()) - s).abs().max() <= tolerance * size
    assert (s[:-1] >= s[1:]).all()
    assert (s >= 0).all()
    assert ((U.double() * s) @ Vh.double() - matrix).norm() <= tolerance * size


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [1e-12, 1.0, 1e12])
def test_full_rank(shape, size):
    assert_decomposed(size * noise(*shape))


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("shape", [(12, 12), (30, 12), (12, 30)])
def test_small_singular_values(shape, smallest):
    matrix = graded(*shape, smallest)
    assert_decomposed(matrix, 5e-7)
    s, wanted = decompose(matrix).s, torch.linalg.svdvals(matrix.double())
    assert ((s - wanted).abs() / wanted).max() < 2e-6, (
        "the smallest values must be right relative to themselves"
    )


@pytest.mark.parametrize("smallest", [1e-6, 1e-7, 1e-9, 1e-14])
@pytest.mark.parametrize("shape", [(60, 60), (90, 60), (60, 90)])
def test_steep_spectra_keep_orthonormal_vectors(shape, smallest):
    assert_decomposed(graded(*shape, smallest), 5e-7)


@pytest.mark.parametrize("shape", [(12, 12), (30, 12), (12, 30)])
@pytest.mark.parametrize("rank", [0, 1, 5, 11])
def test_rank_deficient(shape, rank):
    matrix = noise(shape[0], rank) @ noise(rank, shape[1], seed=1)
    assert_decomposed(matrix)
    assert (decompose(matrix).s > 1e-5).sum() == rank


@pytest.mark.parametrize(
    "matrix", [torch.ones(8, 5), torch.eye(6), torch.diag(torch.tensor([3.0, 3.0, 0.0]))]
)
def test_repeated_singular_values(matrix):
    assert_decomposed(matrix)


def test_no_columns():
    U, s, Vh = decompose(torch.zeros(5, 0))
    assert (U.shape, s.shape, Vh.shape) == ((5, 0), (0,), (0, 0))


def test_completion_needs_no_square_matrix(monkeypatch):
    """A tall matrix of low rank: nothing of size m x m may be made."""
    biggest = 0
    plain = torch.linalg.qr

    def watched(matrix):
        nonlocal biggest
        biggest = max(biggest, matrix.numel())
        return plain(matrix)

    monkeypatch.setattr(torch.linalg, "qr", watched)
    assert_decomposed(noise(500, 2) @ noise(2, 6, seed=1))
    assert 0 < biggest <= 500 * 6


@settings(max_examples=40, deadline=None)
@given(
    m=st.integers(1, 12), n=st.integers(1, 12), rank=st.integers(0, 12),
    dtype=st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64]), seed=st.integers(0, 99),
)  # fmt: skip
def test_any_matrix(m, n, rank, dtype, seed):
    matrix = (noise(m, rank, seed=seed) @ noise(rank, n, seed=seed + 1)).to(dtype)
    assert_decomposed(matrix.T if seed % 2 else matrix, 2e-6)


@pytest.mark.parametrize("shape", [(6, 6), (20, 6), (6, 20)])
def test_signs_are_canonical(shape):
    matrix = noise(*shape)
    U, s, Vh = decompose(matrix)
    largest = U.gather(0, U.abs().argmax(0, keepdim=True))
    assert (largest > 0).all()
    flipped = decompose(-matrix)
    assert torch.allclose(flipped.U, U, atol=1e-6)
    assert torch.allclose(flipped.Vh, -Vh, atol=1e-6)
    assert torch.allclose(flipped.s, s)


@pytest.mark.parametrize("shape", [(9, 9), (15, 9), (9, 15)])
def test_the_error_of_rank_k_is_the_tail(shape):
    matrix = noise(*shape)
    factors = decompose(matrix)
    for k in range(10):
        error = (matrix - factors.top(k).matrix()).square().sum()
        assert error == pytest.approx(float(factors.s[k:].square().sum()), rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_not_finite(value):
    matrix = noise(4, 4)
    matrix[1, 2] = value
    with pytest.raises(WeightsError, match="NaN or infinite"):
        decompose(matrix)


# Without convergence ----------------------------------------------------------------------------------------------


def diverging(*args, **kwargs):
    raise torch.linalg.LinAlgError("did not converge")


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_lapack_stands_in_for_the_gram_route(monkeypatch, shape):
    matrix = noise(*shape)
    wanted = decompose(matrix)
    monkeypatch.setattr(torch.linalg, "eigh", diverging)
    assert_decomposed(matrix)
    assert torch.allclose(decompose(matrix).U, wanted.U, atol=1e-5)


def test_jitter_stands_in_for_lapack(monkeypatch):
    matrix, plain, tried = noise(6, 4), torch.linalg.svd, []

    def once(given, **options):
        tried.append(given)
        return diverging() if len(tried) == 1 else plain(given, **options)

    monkeypatch.setattr(torch.linalg, "eigh", diverging)
    monkeypatch.setattr(torch.linalg, "svd", once)
    assert_decomposed(matrix)
    assert 0 < (tried[1] - tried[0]).abs().max() <= 1.001e-10 * matrix.abs().max()


def test_when_nothing_converges(monkeypatch):
    monkeypatch.setattr(torch.linalg, "eigh", diverging)
    monkeypatch.setattr(torch.linalg, "svd", diverging)
    with pytest.raises(WeightsError, match="did not converge"):
        decompose(noise(4, 4))


def test_singular_values_alone(monkeypatch):
    for shape in SHAPES:
        matrix = noise(*shape)
        wanted = torch.linalg.svdvals(matrix.double())
        assert torch.allclose(singular_values(matrix), wanted, rtol=1e-6, atol=1e-7)
        assert singular_values(matrix).dtype == torch.float64
    monkeypatch.setattr(torch.linalg, "eigvalsh", diverging)
    assert torch.allclose(singular_values(matrix), wanted)


# The polar factor -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(6, 6), (12, 5), (5, 12)])
def test_polar_factor_of_full_rank(shape):
    matrix = noise(*shape)
    U, _, Vh = torch.linalg.svd(matrix.double(), full_matrices=False)
    assert torch.allclose(polar(matrix).double(), U @ Vh, atol=1e-5)


def test_polar_factor_leaves_out_arbitrary_directions():
    matrix = noise(8, 3) @ noise(3, 6, seed=1)
    factor = polar(matrix)
    assert torch.allclose(torch.linalg.svdvals(factor), torch.tensor([1.0, 1, 1, 0, 0, 0]), atol=1e-5)
    columns = torch.linalg.qr(noise(8, 8))[0][:, :2]
    twice = torch.cat([columns, columns], 1)
    assert torch.allclose(polar(twice), twice / 2**0.5, atol=1e-6)
    assert not polar(torch.zeros(4, 3)).any()


# The store --------------------------------------------------------------------------------------------------------


def same(a: Factors, b: Factors) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_matrix_is_decomposed_once(tmp_path):
    store, matrix = SvdStore(tmp_path), noise(6, 4)
    first = store(matrix)
    assert same(store(matrix.clone()), first)
    assert same(first, decompose(matrix))
    assert store.computed == 1
    store(matrix + 1e-3)
    store(matrix.reshape(4, 6))
    assert store.computed == 3, "other content or another shape is another matrix"


def test_equal_content_in_another_dtype_or_layout_is_found(tmp_path):
    store, matrix = SvdStore(tmp_path), noise(6, 4).half()
    store(matrix)
    store(matrix.float())
    store(matrix.T.contiguous().T)
    assert store.computed == 1


def test_another_store_reads_what_one_wrote(tmp_path):
    matrix = noise(6, 4)
    first = SvdStore(tmp_path)(matrix)
    other = SvdStore(tmp_path)
    assert same(other(matrix), first)
    assert other.computed == 0
    assert not list(tmp_path.rglob("*.part"))


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path))
    store = SvdStore(folder=None)
    store(noise(3, 3))
    store(noise(3, 3))
    assert store.computed == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", [b"", b"not a safetensors file", None])
def test_a_damaged_file_is_computed_and_written_again(tmp_path, damage):
    matrix = noise(6, 4)
    wanted = SvdStore(tmp_path)(matrix)
    (file,) = tmp_path.rglob("*.safetensors")
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    store = SvdStore(tmp_path)
    assert same(store(matrix), wanted)
    assert store.computed == 1
    assert file.read_bytes() == whole
    assert SvdStore(tmp_path)(matrix) is not None


def test_a_read_only_folder_costs_only_speed(tmp_path, monkeypatch):
    monkeypatch.setattr(module.tempfile, "mkstemp", lambda **_: (_ for _ in ()).throw(OSError("full")))
    store = SvdStore(tmp_path)
    assert same(store(noise(5, 3)), decompose(noise(5, 3)))
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.mark.parametrize("error", [OSError("full"), module.SafetensorError("full")])
def test_a_full_disk_costs_only_speed(tmp_path, monkeypatch, error):
    def full(*_):
        raise error

    monkeypatch.setattr(module, "save_file", full)
    assert same(SvdStore(tmp_path)(noise(5, 3)), decompose(noise(5, 3)))
    assert not files(tmp_path)


def test_without_memory_the_disk_serves(tmp_path):
    store = SvdStore(tmp_path, memory_limit=0)
    matrix = noise(6, 4)
    store(matrix)
    store(matrix)
    assert store.computed == 1
    nowhere = SvdStore(None, memory_limit=0)
    nowhere(matrix)
    nowhere(matrix)
    assert nowhere.computed == 2


# Bounds -----------------------------------------------------------------------------------------------------------

ONE = decompose(noise(40, 40)).bytes


def files(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


def taken(folder: Path) -> int:
    return sum(file.stat().st_size for file in files(folder))


def age(folder: Path, seconds: int) -> None:
    """Make every file look as if it was last used earlier."""
    for file in files(folder):
        then = file.stat().st_mtime_ns - seconds * 10**9
        os.utime(file, ns=(then, then))


def computes(store: SvdStore, seed: int) -> bool:
    before = store.computed
    store(noise(40, 40, seed=seed))
    return store.computed > before


def test_memory_keeps_the_latest_within_its_bound():
    store = SvdStore(None, memory_limit=3 * ONE)
    assert [computes(store, seed) for seed in (0, 1, 2, 0, 3)] == [True, True, True, False, True]
    assert [computes(store, seed) for seed in (0, 2, 3)] == [False] * 3, "used again since, so it stayed"
    assert computes(store, 1)
    assert store._memory.bytes == 3 * ONE == sum(f.bytes for f in store._memory._kept.values())


def test_a_matrix_larger_than_the_bound_pushes_nothing_out():
    store = SvdStore(None, memory_limit=ONE)
    store(noise(40, 40))
    store(noise(80, 40))
    assert not computes(store, 0)


def test_the_disk_keeps_the_latest_within_its_bound(tmp_path):
    limit = 10.5 * ONE
    store = SvdStore(tmp_path, memory_limit=0, disk_limit=limit)
    for seed in range(8):
        store(noise(40, 40, seed=seed))
    age(tmp_path, 60)
    assert not computes(store, 0), "and the read marks it as used"
    for seed in range(8, 20):
        store(noise(40, 40, seed=seed))
        age(tmp_path, 1)
        assert taken(tmp_path) <= limit
    assert taken(tmp_path) > 0.8 * limit
    assert [computes(SvdStore(tmp_path, 0, limit), seed) for seed in (19, 18, 1, 2)] == [
        False,
        False,
        True,
        True,
    ]


def test_what_was_read_lately_outlives_what_was_written_after_it(tmp_path):
    store = SvdStore(tmp_path, memory_limit=0, disk_limit=6.5 * ONE)
    for seed in range(6):
        store(noise(40, 40, seed=seed))
        age(tmp_path, 10)
    store(noise(40, 40, seed=0))
    store(noise(40, 40, seed=6))
    assert [computes(store, seed) for seed in (0, 6, 1)] == [False, False, True]


def test_files_of_an_older_policy_and_of_other_processes_count(tmp_path):
    old = tmp_path / "svd" / "older" / "ab" / "x.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"0" * 5 * ONE)
    age(tmp_path, 60)
    first, second = (SvdStore(tmp_path, memory_limit=0, disk_limit=8 * ONE) for _ in range(2))
    for seed in range(8):
        (first if seed % 2 else second)(noise(40, 40, seed=seed))
        assert taken(tmp_path) <= 8.5 * ONE
    assert not old.exists()


def test_only_writes_walk_the_folder_and_few_of_them(tmp_path, monkeypatch):
    walks, plain = [], os.walk
    monkeypatch.setattr(module.os, "walk", lambda folder: walks.append(folder) or plain(folder))
    store = SvdStore(tmp_path, memory_limit=0, disk_limit=160 * ONE)
    for seed in range(40):
        store(noise(40, 40, seed=seed))
    assert 1 < len(walks) <= 6, "at the first write, then for every sixteenth of the limit"
    walks.clear()
    for seed in range(40):
        store(noise(40, 40, seed=seed))
    assert store.computed == 40
    assert not walks


def test_no_room_on_disk_keeps_nothing_there(tmp_path):
    store = SvdStore(tmp_path, memory_limit=0, disk_limit=0)
    assert computes(store, 0)
    assert computes(store, 0)
    assert not files(tmp_path)


def test_a_file_that_vanishes_while_it_is_read_is_computed_again(tmp_path, monkeypatch):
    matrix, plain = noise(6, 4), module.load_file
    wanted = SvdStore(tmp_path)(matrix)

    def vanishing(file):
        Path(file).unlink()
        return plain(file)

    monkeypatch.setattr(module, "load_file", vanishing)
    store = SvdStore(tmp_path)
    assert same(store(matrix), wanted)
    assert store.computed == 1


def test_a_file_that_cannot_be_removed_is_left(tmp_path, monkeypatch):
    def held(self, missing_ok=False):
        raise PermissionError("in use")

    monkeypatch.setattr(Path, "unlink", held)
    store = SvdStore(tmp_path, memory_limit=0, disk_limit=2.5 * ONE)
    for seed in range(5):
        store(noise(40, 40, seed=seed))
    assert len(files(tmp_path)) == 5


def test_stores_that_share_a_folder_and_outgrow_it_stay_right(tmp_path):
    """Four stores with two threads each, as processes would: the folder holds three of twelve matrices."""
    matrices = [noise(20, 20, seed=seed) for seed in range(12)]
    wanted = [decompose(matrix) for matrix in matrices]
    limit, failed = 3.5 * wanted[0].bytes, []
    stores = [SvdStore(tmp_path, memory_limit=wanted[0].bytes, disk_limit=limit) for _ in range(4)]

    def work(store: SvdStore, shift: int) -> None:
        for turn in range(24):
            place = (turn * 5 + shift) % 12
            if not same(store(matrices[place]), wanted[place]):
                failed.append(place)

    threads = [
        threading.Thread(target=work, args=(store, 3 * k + j))
        for k, store in enumerate(stores)
        for j in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert taken(tmp_path) <= limit
    assert not [file for file in files(tmp_path) if file.suffix == ".part"]


def test_the_bound_follows_the_environment(tmp_path, monkeypatch):
    for asked, wanted in (("0.5", GIB / 2), ("0", 0.0), ("inf", float("inf")), ("", 4 * GIB)):
        monkeypatch.setenv("MERGESCOPE_CACHE_GIB", asked)
        assert default_limit() == SvdStore(None).disk_limit == wanted
    monkeypatch.delenv("MERGESCOPE_CACHE_GIB")
    assert default_limit() == 4 * GIB
    for asked in ("-1", "nan", "4 GB"):
        monkeypatch.setenv("MERGESCOPE_CACHE_GIB", asked)
        with pytest.raises(MergeError) as refused:
            SvdStore(None)
        assert str(refused.value) == f"MERGESCOPE_CACHE_GIB must be a number of at least 0; got {asked!r}."


def test_without_a_bound_nothing_leaves(tmp_path):
    store = SvdStore(tmp_path, memory_limit=0, disk_limit=float("inf"))
    for seed in range(3):
        store(noise(40, 40, seed=seed))
    assert len(files(tmp_path)) == 3


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MERGESCOPE_CACHE", str(tmp_path / "here"))
    assert default_cache() == tmp_path / "here"
    monkeypatch.delenv("MERGESCOPE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "mergescope"
