"""One numerical policy for singular value decompositions, and a disk store keyed by content.

Policy: the Gram matrix of the short side in float64, its eigendecomposition, and the long side by one product,
D = U diag(s) Vᵀ with DᵀD = V diag(s²) Vᵀ and U = D V / s. Where the kept singular values fall below 1e-7 of the
largest the Gram route is noise, so those columns are completed to an orthonormal set by a QR step, which also
straightens the columns above them once values fall below 1e-5. If the eigendecomposition does not converge, LAPACK's
SVD in float64 is tried, first as is and then with a jitter of 1e-10 of the largest entry. Signs are canonical: the
largest entry of every left singular vector is positive.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..errors import MergeError, WeightsError
from ..weights import fingerprint
from .factors import Disk, Factors, Memory

FLOOR, NEAR = 1e-7, 1e-5
GIB = 1 << 30


def decompose(matrix: Tensor) -> Factors:
    """Return the thin SVD of a matrix (m, n) under the policy above; float64 inside, float32 out."""
    if not torch.isfinite(matrix).all():
        raise WeightsError(
            "A matrix to decompose has NaN or infinite values; check the expert it comes from."
        )
    wide = matrix.shape[0] < matrix.shape[1]
    tall = (matrix.T if wide else matrix).double()
    try:
        U, s, V = _gram(tall)
    except torch.linalg.LinAlgError:
        U, s, V = _lapack(tall)
    if wide:
        U, V = V, U
    sign = torch.sign(U.gather(0, U.abs().argmax(0, keepdim=True)))
    sign = torch.where(sign == 0, torch.ones_like(sign), sign)
    return Factors((U * sign).float().contiguous(), s.float(), (V * sign).T.float().contiguous())


def singular_values(matrix: Tensor) -> Tensor:
    """Return the singular values of a matrix, descending, float64, without vectors."""
    tall = (matrix.T if matrix.shape[0] < matrix.shape[1] else matrix).double()
    try:
        values = torch.linalg.eigvalsh(tall.T @ tall)
    except torch.linalg.LinAlgError:
        return torch.linalg.svdvals(tall)
    return values.clamp_min(0).sqrt().flip(0)


def polar(matrix: Tensor, floor: float = 1e-6) -> Tensor:
    """Return the partial isometry U Vᵀ over singular values above `floor` times the largest; float32.

    Directions below the floor are dropped instead of being completed arbitrarily.
    """
    U, s, Vh = decompose(matrix)
    keep = s > floor * s[0] if s.numel() and s[0] > 0 else torch.zeros_like(s, dtype=torch.bool)
    return U[:, keep] @ Vh[keep]


def _gram(tall: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    values, V = torch.linalg.eigh(tall.T @ tall)
    s, V = values.flip(0).clamp_min(0).sqrt(), V.flip(1)
    product = tall @ V
    s = torch.where(s > FLOOR * s[:1].clamp_min(1e-300), product.norm(dim=0), s)
    s, order = s.sort(descending=True, stable=True)
    product, V = product[:, order], V[:, order]
    rank = int((s > FLOOR * s[:1].clamp_min(1e-300)).sum())
    U = product[:, :rank] / s[:rank]
    steep = rank < len(s) or bool((s < NEAR * s[:1]).any())
    return (_orthonormal(U, len(s)) if steep else U), s, V


def _orthonormal(U: Tensor, columns: int) -> Tensor:
    """Make nearly orthonormal columns (m, k) orthonormal, the first ones least changed, and add more, (m, columns).

    Householder QR keeps zero columns orthonormal too.
    """
    m, k = U.shape
    Q, R = torch.linalg.qr(torch.cat([U, U.new_zeros(m, columns - k)], 1))
    return torch.where(R.diagonal() < 0, -Q, Q)


def _lapack(tall: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    for jitter in (0.0, 1e-10):
        try:
            noise = (
                jitter
                * tall.abs().max()
                * torch.linspace(-1, 1, tall.numel(), dtype=tall.dtype, device=tall.device).view_as(tall)
            )
            U, s, Vh = torch.linalg.svd(tall + noise, full_matrices=False)
            return U, s, Vh.T
        except torch.linalg.LinAlgError:
            continue
    raise WeightsError(
        "A singular value decomposition did not converge, even in float64; check this expert's weights."
    )


def default_cache() -> Path:
    """Return the folder of the store: MERGESCOPE_CACHE, else the user's cache folder."""
    given = os.environ.get("MERGESCOPE_CACHE")
    return (
        Path(given)
        if given
        else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "mergescope"
    )


def default_limit() -> float:
    """Return how many bytes the store may take on disk: MERGESCOPE_CACHE_GIB times 2^30, else 4 GiB."""
    given = os.environ.get("MERGESCOPE_CACHE_GIB") or "4"
    try:
        size = float(given)
    except ValueError:
        size = math.nan
    if not size >= 0:
        raise MergeError(f"MERGESCOPE_CACHE_GIB must be a number of at least 0; got {given!r}.")
    return size * GIB


@dataclass
class SvdStore:
    """Decompositions by content: computed once, kept on disk and, the latest ones, in memory.

    They take at most `disk_limit` bytes on disk (4 GiB, or MERGESCOPE_CACHE_GIB) and `memory_limit` bytes in memory
    (256 MiB); where a bound is passed, the least recently used leave. `folder=None` keeps nothing on disk. Threads
    and processes may share a folder: files are written aside and renamed, and one that has vanished or is damaged
    is computed again.
    """

    folder: Path | None = field(default_factory=default_cache)
    memory_limit: int = GIB // 4
    disk_limit: float = field(default_factory=default_limit)
    computed: int = 0

    def __post_init__(self) -> None:
        self._memory = Memory(self.memory_limit)
        self._disk = None if self.folder is None else Disk(self.folder / "svd", self.disk_limit)

    def __call__(self, matrix: Tensor) -> Factors:
        """Return the thin SVD of a matrix (m, n)."""
        key = fingerprint(matrix.float())
        found = self._memory.get(key)
        if found is None:
            found = (self._disk.read(key) if self._disk else None) or self._compute(matrix, key)
            self._memory.put(key, found)
        return Factors(*(part.to(matrix.device) for part in found))

    def holds(self, matrix: Tensor) -> bool:
        """Return whether a matrix was decomposed before and its factors are kept."""
        key = fingerprint(matrix.float())
        return key in self._memory or (self._disk is not None and key in self._disk)

    def _compute(self, matrix: Tensor, key: str) -> Factors:
        self.computed += 1
        factors = Factors(*(part.cpu() for part in decompose(matrix)))
        if self._disk is not None:
            self._disk.write(key, factors)
        return factors
