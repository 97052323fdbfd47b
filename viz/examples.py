"""Made-up measurements with the shapes of real ones, for demonstrations and tests of panels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from merge_engine.embedding import pca
from merge_engine.metrics import MERGED, Row
from merge_engine.metrics.cosine import Cosine
from merge_engine.metrics.norms import Norms
from merge_engine.metrics.sign_conflict import SignConflict
from merge_engine.metrics.spectrum import Spectrum
from merge_engine.metrics.subspace import Subspaces
from merge_engine.problem import MATRIX_KINDS
from merge_engine.routing.twin_energy import Energies
from viz.masks import MaskMap
from viz.panels.coefficient_map import CoefficientMap
from viz.panels.live_accuracy import LiveAccuracy
from viz.panels.manifold import FeatureMap
from viz.panels.robustness import Robustness
from viz.panels.route_confusion import RouteConfusion
from viz.panels.route_depth import RouteDepth
from viz.panels.route_gallery import Gallery, RoutedInput
from viz.panels.route_input import InputView, RouterView
from viz.panels.twin_rank import RankCurve

EXPERTS = ("digits", "fashion", "animals", "letters", "icons", "emoji", "landcover", "instruments")
PARTS = {"attention": MATRIX_KINDS[:4], "mlp": MATRIX_KINDS[4:]}


def rows(blocks: int = 12) -> tuple[Row, ...]:
    """Return the rows of a measurement of a transformer: all, parts, blocks, kinds, tensors."""
    tensors = [Row("tensor", f"blocks.{b}.{k}.weight", b, k) for b in range(blocks) for k in MATRIX_KINDS]
    return (
        Row("all"),
        *(Row("part", kind=part) for part in PARTS),
        *(Row("block", block=b) for b in range(blocks)),
        *(Row("kind", kind=k) for k in MATRIX_KINDS),
        *tensors,
    )


def spectrum(experts: Sequence[str] = EXPERTS, *, blocks: int = 2, rank: int = 96, merged: bool = True) -> Spectrum:
    """Return spectra that decay as those of fine-tuned matrices do; the merged one is flatter."""
    models = (*experts, MERGED) if merged else tuple(experts)
    where = rows(blocks)
    random, i = np.random.default_rng(3), np.arange(1, rank + 1)
    slope = 0.55 + 0.25 * random.random((len(where), len(models), 1))
    size = 0.5 + random.random((1, len(models), 1)) * 0.7
    if merged:
        slope[:, -1], size[:, -1] = 0.3, 0.55
    s = size * i**-slope * np.exp(-((i / rank) ** 3) * 1.6)
    energy, linear = (np.cumsum(p, -1) / p.sum(-1, keepdims=True) for p in (s**2, s))
    ranks = [1.0 + (curve >= 0.95).argmax(-1) for curve in (energy, linear)]
    return Spectrum(models, where, s, energy, linear, *ranks)


def affinity(experts: Sequence[str], blocks: int) -> np.ndarray:
    """Return how related two experts are in every row, (rows, experts, experts), symmetric, diagonal 1."""
    where, count = rows(blocks), len(experts)
    random = np.random.default_rng(11)
    kin = random.random((count, count)) ** 2
    depth = [0.25 + 0.75 * (r.block or 0) / blocks if r.block is not None else 0.6 for r in where]
    kind = [1.25 if r.kind in ("fc1", "fc2", "mlp") else 1.0 for r in where]
    noise = 0.06 * random.random((len(where), count, count))
    values = np.array(depth)[:, None, None] * np.array(kind)[:, None, None] * 0.55 * kin + noise
    values = (values + values.transpose(0, 2, 1)) / 2
    values[:, range(count), range(count)] = 1
    return np.clip(values, 0, 1)


def cosine(experts: Sequence[str] = EXPERTS, *, blocks: int = 12) -> Cosine:
    """Return small, mostly positive cosines."""
    values = affinity(experts, blocks) * 0.3 - 0.03
    values[:, range(len(experts)), range(len(experts))] = 1
    return Cosine(tuple(experts), rows(blocks), values, np.full(len(rows(blocks)), 0.0026))


def subspaces(experts: Sequence[str] = EXPERTS, *, blocks: int = 12, k: int = 48, width: int = 384) -> Subspaces:
    """Return overlaps that start at chance and grow with depth."""
    models, where, related = tuple(experts), rows(blocks), affinity(experts, blocks)
    shape, angles = related.shape, np.zeros((*related.shape, 1))
    chance = np.full(shape, k / width)
    wide = np.array([r.kind == "fc1" for r in where])
    left = np.where(wide[:, None, None], chance / 4, chance)
    overlap = left + (1 - left) * related * 0.6
    distance = np.sqrt(k * (1 - overlap))
    return Subspaces(
        models, where, overlap, 0.8 * overlap, left, chance, distance, distance, distance, distance,
        angles, angles, angles, angles, np.full(shape[:2], float(k)),
    )  # fmt: skip


def sign_conflict(experts: Sequence[str] = EXPERTS, *, blocks: int = 12) -> SignConflict:
    """Return conflicts a little below what independent signs would show."""
    related, count = affinity(experts, blocks), len(experts)
    other = (related.sum((1, 2)) - count) / max(1, count * (count - 1))
    ones = np.ones(len(other))
    chance = ones * (1 - 2.0 ** (1 - count))
    bins = np.linspace(0.025, 0.975, 20)
    histogram = np.exp(-(((bins - 0.3) / 0.22) ** 2))[None] * ones[:, None]
    return SignConflict(
        tuple(experts), rows(blocks), agreement=0.5 + 0.2 * related, conflict=chance - 0.12 * other,
        strength=1 / np.sqrt(count) + 0.3 * other, histogram=histogram / histogram.sum(1, keepdims=True),
        agreement_chance=ones / 2, chance=chance, strength_chance=ones / np.sqrt(count),
    )  # fmt: skip


def norms(experts: Sequence[str] = EXPERTS, *, blocks: int = 12) -> Norms:
    """Return updates that grow with depth and are larger in the MLP."""
    related = affinity(experts, blocks).mean(2)
    return Norms(tuple(experts), rows(blocks), *(related * scale for scale in (2, 0.08, 0.004, 9, 80, 30, 0.3)))


def live_accuracy(experts: Sequence[str] = EXPERTS, *, points: int = 16, total: int = 300) -> LiveAccuracy:
    """Return a curve that rises, then falls for some tasks while the entropy goes on falling."""
    random, count = np.random.default_rng(5), len(experts)
    steps = np.linspace(0, total, points).round().astype(int) if points > 1 else np.array([0])
    at = steps[:, None] / total
    start, gain, loss = 45 + 40 * random.random(count), 9 * random.random(count), 14 * random.random(count) ** 2
    accuracy = start + gain * (1 - np.exp(-6 * at)) - loss * at**2 + random.normal(0, 0.4, (points, count))
    updates = np.arange(1, int(steps[-1]) + 1)
    entropy = 0.35 + 0.4 * np.exp(-updates / 90) + random.normal(0, 0.012, len(updates))
    references = {"pretrained": start.mean() - 14, "weight average": start.mean() - 3.5,
                  "Task Arithmetic": start.mean() - 1, "experts": start.mean() + 14}  # fmt: skip
    return LiveAccuracy(tuple(experts), steps, np.clip(accuracy, 0, 100), steps * 0.41, updates, entropy, references,
                        total, pictures=32)  # fmt: skip


def route_confusion(experts: Sequence[str] = EXPERTS, unseen: Sequence[str] = ("scripts", "shells")) -> RouteConfusion:
    """Return routes that are mostly right; related tasks are taken for each other."""
    random, count = np.random.default_rng(7), len(experts)
    mixed = random.dirichlet(np.full(count, 0.25), count + len(unseen))
    mixed[:count] = 0.12 * mixed[:count] + 0.88 * np.eye(count)
    mixed[count // 2 :: count] = 0.45 * random.dirichlet(np.full(count, 0.4)) + 0.55 * mixed[count // 2 :: count]
    counts = np.array([random.multinomial(256, row) for row in mixed])
    return RouteConfusion((*experts, *unseen), tuple(experts), counts)


def routes(experts: Sequence[str] = EXPERTS, *, inputs: int = 64, blocks: int = 12) -> dict[str, np.ndarray]:
    """Return weights (inputs, blocks, experts) by task: undecided near the input, mostly the own expert deeper down."""
    random, count = np.random.default_rng(9), len(experts)
    sure = 1 / (1 + np.exp(-(np.arange(blocks) - 3.5) / 1.2))
    found = {}
    for i, task in enumerate(experts):
        wrong = random.random(blocks) < 0.12
        weights = 0.3 + random.normal(0, 0.09, (inputs, blocks, count)) + random.normal(0, 0.08, (1, blocks, count))
        weights[:, :, i] += np.where(wrong, -0.3, 0.75) * sure
        weights[:, wrong, (i + 3) % count] += 0.6
        found[task] = weights - 0.35 * sure[:, None] * (np.arange(count) != i)
    return found


def route_depth(experts: Sequence[str] = EXPERTS, *, blocks: int = 12) -> RouteDepth:
    """Return routing by depth as routers in front of the blocks' MLPs learn it; both of its layers take the same."""
    where = [(b, kind) for b in range(blocks) for kind in ("fc1", "fc2")]
    twice = {task: np.repeat(weights, 2, axis=1) for task, weights in routes(experts, blocks=blocks).items()}
    return RouteDepth.of(twice, experts, where, level=0.3, word="start")


def picture(task: int, number: int) -> np.ndarray:
    """Return a small made-up picture, uint8 (32, 32, 3): waves whose direction and colour belong to a task."""
    random = np.random.default_rng([task, number])
    y, x = np.mgrid[:32, :32] / 31 - 0.5
    angle, size = task * 0.8 + random.normal(0, 0.15), 12 + 3 * (task % 3)
    wave = np.sin(size * (x * np.cos(angle) + y * np.sin(angle)) + 6 * random.random())
    colour = 0.5 + 0.5 * np.cos(task * 1.3 + np.array([0, 2, 4]))
    light = np.exp(-6 * ((x - random.normal(0, 0.1)) ** 2 + (y - random.normal(0, 0.1)) ** 2))
    return (255 * np.clip((0.55 + 0.45 * wave * light)[..., None] * colour, 0, 1)).astype(np.uint8)


def gallery(experts: Sequence[str] = EXPERTS, *, each: int = 6) -> Gallery:
    """Return inputs of every task and of an unseen one, most of them sent right."""
    random, inputs = np.random.default_rng(13), []
    for number in range(each):
        for t, task in enumerate((*experts, "scripts")):
            stays = task in experts and random.random() < 0.8
            picked = task if stays else experts[int(random.integers(len(experts)))]
            guess = "class a" if picked == task and random.random() < 0.85 else "class b"
            inputs.append(RoutedInput(task, 10 * number + t, picture(t, number), "class a", picked, guess))
    return Gallery(tuple(experts), tuple(inputs), "SiM")


def input_view(experts: Sequence[str] = EXPERTS) -> InputView:
    """Return one input that one of three routers sends wrong."""
    random, count = np.random.default_rng(17), len(experts)
    own, other = min(3, count - 1), 0
    residual = 0.45 + 0.2 * random.random(count)
    residual[own], residual[other] = 0.36, 0.33
    logits = random.normal(0, 1, count)
    logits[own] += 4
    softmax = np.exp(logits) / np.exp(logits).sum()
    weights = next(iter(routes(experts, inputs=1).values()))[0]
    weights = np.roll(weights, own, axis=1)
    views = (
        RouterView("SiM", "residual", residual, experts[int(residual.argmin())], "3"),
        RouterView("Twin-Merging", "softmax", softmax, experts[int(softmax.argmax())], "P"),
        RouterView("WEMoE", "weights", weights, experts[int(weights.mean(0).argmax())], "R"),
    )
    says = ["3", "sandal", "bear", "P", "gear", "smile", "forest", "flute"]
    return InputView(experts[own], 42, picture(own, 42), "P", tuple(experts), tuple((says * 2)[:count]), views)


def masks(experts: Sequence[str] = EXPERTS, *, blocks: int = 12, rank: int = 384, top_k: float = 0.16) -> MaskMap:
    """Return masks that began with the strongest components and moved: weak ones came in, some strong ones left."""
    random, place = np.random.default_rng(19), np.arange(rank) / rank
    where = tuple((b, k) for b in range(blocks) for k in MATRIX_KINDS)
    first = np.broadcast_to(np.arange(rank) < round(top_k * rank), (len(experts), rank))
    now = []
    for block, _ in where:
        eager = (0.3 + 0.7 * block / blocks) * (0.6 + 0.8 * random.random((len(experts), 1)))
        leave, come = 0.35 * eager * place / top_k, 0.5 * eager * np.exp(-(place - top_k) / 0.12)
        now.append(np.where(random.random(first.shape) < np.where(first, leave, come), ~first, first))
    return MaskMap(tuple(experts), where, tuple(now), (first,) * len(where), top_k, 300)


def masks_over_time(experts: Sequence[str] = EXPERTS, *, steps: int = 13, last: int = 300) -> list[MaskMap]:
    """Return masks that switch one after another until they are those of `masks`."""
    end, random = masks(experts), np.random.default_rng(29)
    turn = [random.random(start.shape) for start in end.start]
    shares = np.linspace(0, 1, steps)
    return [
        dataclasses.replace(end, step=round(last * share), masks=tuple(
            np.where(when < share, now, start) for now, start, when in zip(end.masks, end.start, turn, strict=True)
        ))
        for share in shares
    ]  # fmt: skip


def coefficients(experts: Sequence[str] = EXPERTS, *, blocks: int = 12, prior: float = 0.3) -> CoefficientMap:
    """Return coefficients by tensor that drifted from where they began, most of them in late blocks."""
    random = np.random.default_rng(23)
    where = [(b, k) for b in range(blocks) for k in (*MATRIX_KINDS, "bias", "norm")]
    places = ((None, "embedding"), *where, (None, "norm"))
    start = np.full((len(experts), len(places)), prior)
    depth = np.array([0.3 if b is None else 0.2 + b / blocks for b, _ in places])
    drift = random.normal(0.05, 0.12, (len(experts), 1)) + random.normal(0, 0.06, start.shape)
    return CoefficientMap(tuple(experts), places, start + drift * depth, start, 300)


def coefficients_over_time(experts: Sequence[str] = EXPERTS, *, last: int = 300) -> list[CoefficientMap]:
    """Return coefficients on their way to those of `coefficients`."""
    end = coefficients(experts)
    return [
        dataclasses.replace(end, step=round(last * share), values=end.start + share * (end.values - end.start))
        for share in np.linspace(0, 1, 13)
    ]  # fmt: skip


def features(experts: Sequence[str] = EXPERTS, *, support: int = 18, test: int = 16) -> FeatureMap:
    """Return clouds of features, one per task, some of them overlapping; a task without expert lies between."""
    random, count = np.random.default_rng(29), len(experts)
    names, width = (*experts, "scripts"), 12
    centres = random.normal(0, 1.6, (count + 1, width))
    centres[-1] = centres[:count].mean(0)
    task = np.repeat(np.arange(count + 1), support + test)
    is_support = np.tile(np.arange(support + test) < support, count + 1) & (task < count)
    points = centres[task] + random.normal(0, 1, (len(task), width))
    distance = ((points[:, None] - centres[None, :count]) ** 2).sum(-1)
    routed = np.where(is_support, -1, (distance + random.normal(0, 9, distance.shape)).argmin(1))
    index = np.tile(np.r_[np.arange(support), np.arange(test)], count + 1)
    found, turn = pca(points), random.random(count + 1) * 2 * np.pi
    around = 9 * np.stack([np.cos(turn), np.sin(turn)], 1)[task] + 0.9 * points[:, :2]
    return FeatureMap(names, task, routed, is_support, index, found.coordinates, found.explained, around)


def twin_energy(experts: Sequence[str] = EXPERTS, *, blocks: int = 12) -> Energies:
    """Return energies that grow with depth; compression keeps most of some experts and half of others."""
    random = np.random.default_rng(31)
    depth = 0.5 + np.arange(blocks) / blocks
    exclusive = depth[:, None] * (0.8 + 0.9 * random.random((blocks, len(experts))))
    kept = exclusive * np.clip(0.5 + 0.4 * random.random(len(experts)) + random.normal(0, 0.03, exclusive.shape), 0, 1)
    return Energies(tuple(experts), tuple(range(blocks)), 0.7 * depth + 0.1 * random.random(blocks), exclusive, kept)


def rank_curve(experts: Sequence[str] = EXPERTS) -> RankCurve:
    """Return accuracies that rise fast and then hardly, and bytes that grow evenly."""
    random, shares = np.random.default_rng(37), np.array([0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0])
    low = 45 + 35 * random.random(len(experts))
    accuracy = low + (94 - low) * 0.8 * (1 - np.exp(-shares[:, None] / 0.12)) + random.normal(0, 0.5, (8, len(experts)))
    sizes = {"one model": 88e6, "all experts": 88e6 * len(experts)}
    return RankCurve(tuple(experts), shares, accuracy, 90e6 + 88e6 * len(experts) * 0.9 * shares, 0.1,
                     {"experts": 93.0, "pretrained": 44.0}, sizes)  # fmt: skip


def robustness() -> Robustness:
    """Return accuracies that fall with the strength of the corruption, least for a method that adapts to it."""
    cases = ("pretrained model", "Weight average", "TSV-M", "AdaRank, saw clean", "AdaRank, saw alike",
             "experts, each on its own task")  # fmt: skip
    corruptions = ("motion_blur", "impulse_noise", "gaussian_noise", "pixelate", "spatter", "contrast", "jpeg")
    clean = np.array([57, 64, 78, 82, 82, 90.0])[:, None]
    loss = np.random.default_rng(5).random(len(corruptions)) * 24 + 4
    share = np.array([0.8, 1.0, 1.1, 1.0, 0.7, 1.0])[:, None]
    accuracy = np.hstack([clean, clean - share * loss])
    adapted = Robustness(cases[3:5], corruptions, accuracy[3:5] - 0.5, (3,))
    return Robustness(cases, corruptions, accuracy, (1, 2, 3, 4, 5), adapted)
