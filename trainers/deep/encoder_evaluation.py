"""Judges a frozen encoder: by neighbours, by a linear head at its optimum, by one as published."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import log_softmax
from torch import Tensor
from torch.nn import functional as F

from trainers.augmentations import ContrastiveViews
from trainers.base import Examples, TrainingError
from trainers.deep.compute import repeatable
from trainers.deep.frozen import Frozen, Place, freeze
from trainers.deep.images import Normaliser, Pixels
from trainers.deep.logistic import fit_logistic
from trainers.deep.neighbours import neighbour_log_probs
from trainers.deep.pair_views import RandomViews
from trainers.deep.scoring import evaluating
from trainers.deep.seeding import generator
from trainers.encoders import Encoder
from trainers.evaluating import EncoderEvaluation, EvaluationTask, Judgement, PublishedProbe
from trainers.metrics import classification_metrics

Floats = npt.NDArray[np.float32]
Metrics = dict[str, float]
Choice = TypeVar("Choice", int, float)


def judge(encoder: Encoder, settings: EncoderEvaluation, task: EvaluationTask) -> list[Judgement]:
    """See `trainers.evaluating.evaluate_encoder`."""
    if not len(task.labelled) or not len(task.test):
        raise TrainingError(
            f"an encoder is judged by {len(task.labelled)} labelled and {len(task.test)} test "
            "images; it takes some of both"
        )
    place = Place(task.images, task.num_classes, task.device, task.cache_dir)
    frozen = freeze(encoder, settings.compute, place)
    found = [
        _by_neighbours(settings, task, frozen.features.values),
        _by_linear_head(settings, task, frozen.features.values),
    ]
    if settings.published is not None:
        found += _as_published(settings.published, task, frozen)
    return found


def _by_neighbours(
    settings: EncoderEvaluation, task: EvaluationTask, features: Floats
) -> Judgement:
    def of(examples: Examples, neighbours: tuple[int, ...]) -> dict[int, Metrics]:
        log_probs = neighbour_log_probs(
            features[task.labelled.rows],
            task.labelled.labels,
            features[examples.rows],
            num_classes=task.num_classes,
            neighbours=neighbours,
            temperature=settings.temperature,
        )
        return {k: classification_metrics(p, examples.labels)[0] for k, p in log_probs.items()}

    chosen, validation = settings.neighbours[0], Metrics()
    if len(task.validation):
        each = of(task.validation, settings.neighbours)
        chosen = _best(each)
        validation = each[chosen]
    return Judgement("knn", f"k = {chosen}", validation, of(task.test, (chosen,))[chosen])


def _by_linear_head(
    settings: EncoderEvaluation, task: EvaluationTask, features: Floats
) -> Judgement:
    labelled = features[task.labelled.rows].astype(np.float64)
    mean, std = labelled.mean(axis=0), labelled.std(axis=0)
    std[std < 1e-6 * max(float(std.max()), 1e-30)] = 1.0

    def fitted(l2: float) -> Callable[[Examples], Metrics]:
        standardised, labels = (labelled - mean) / std, task.labelled.labels
        head = fit_logistic(standardised, labels, task.num_classes, l2=l2, max_iterations=1000)
        weight = head.weight / std
        return lambda examples: _metrics(
            (features[examples.rows] - mean) @ weight.T + head.bias, examples
        )

    if not len(task.validation):
        only = settings.l2[0]
        return Judgement("linear", f"l2 = {only:g}", {}, fitted(only)(task.test))
    heads = {l2: fitted(l2) for l2 in settings.l2}
    validation = {l2: metrics_of(task.validation) for l2, metrics_of in heads.items()}
    chosen = _best(validation)
    return Judgement("linear", f"l2 = {chosen:g}", validation[chosen], heads[chosen](task.test))


def _as_published(
    settings: PublishedProbe, task: EvaluationTask, frozen: Frozen
) -> list[Judgement]:
    """The last epoch's head, and beside it the one that the validation set likes best."""
    features = frozen.features.values
    head = torch.nn.Linear(frozen.network.embedding_width, task.num_classes)
    rng = generator(task.seed, "published probe")
    torch.nn.init.normal_(head.weight, std=0.01, generator=rng)
    torch.nn.init.zeros_(head.bias)
    head.to(task.device)
    optimizer = torch.optim.SGD(head.parameters(), lr=settings.lr, momentum=0.9)
    views = _Views(settings, task, frozen)
    scores: list[tuple[Metrics, Metrics]] = []
    with repeatable(frozen.mode, task.device):
        for _ in range(settings.epochs):
            for embeddings, labels in views.epoch(rng):
                loss = F.cross_entropy(head(embeddings), labels)
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
            scores.append(
                (_of_head(head, features, task.validation), _of_head(head, features, task.test))
            )
    last = Judgement("linear as published, last epoch", f"epoch {settings.epochs}", *scores[-1])
    if not len(task.validation):
        return [last]
    best = _best({epoch: validation for epoch, (validation, _) in enumerate(scores, start=1)})
    chosen = Judgement("linear as published, best epoch", f"epoch {best}", *scores[best - 1])
    return [last, chosen]


class _Views:
    """Embeddings of new views of the labelled images, epoch after epoch."""

    def __init__(self, settings: PublishedProbe, task: EvaluationTask, frozen: Frozen) -> None:
        self._task, self._frozen, self._size = task, frozen, settings.batch_size
        self._pixels = Pixels(task.images, task.labelled.rows, task.device, resident=True)
        crops = ContrastiveViews(min_area=settings.min_area, jitter=0, grey=0)
        self._views = RandomViews(crops, self._pixels.shape)
        self._normalise = Normaliser(task.images, task.device)
        self._labels = torch.from_numpy(task.labelled.labels)

    def epoch(self, rng: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self._labels)
        order = torch.randperm(count, generator=rng)
        draws = self._views.draw(count, rng)
        for start in range(0, count, self._size):
            chosen = order[start : start + self._size]
            yield self._batch(chosen, draws[chosen])

    def _batch(self, chosen: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        pixels = self._pixels.take(chosen)
        views = self._normalise(self._views.apply(pixels, draws.to(pixels.device)))
        network, mode, device = self._frozen.network, self._frozen.mode, self._task.device
        with evaluating(network), mode.autocast(device):
            embeddings = network.embed(mode.arrange(views)).float()
        return embeddings, self._labels[chosen].to(device)


@torch.no_grad()
def _of_head(head: torch.nn.Linear, features: Floats, examples: Examples) -> Metrics:
    if not len(examples):
        return {}
    weight, bias = head.weight.cpu().numpy(), head.bias.cpu().numpy()
    return _metrics(features[examples.rows] @ weight.T + bias, examples)


def _metrics(logits: npt.NDArray[np.floating], examples: Examples) -> Metrics:
    log_probs = log_softmax(logits, axis=1).astype(np.float32)
    return classification_metrics(log_probs, examples.labels)[0]


def _best(validation: Mapping[Choice, Metrics]) -> Choice:
    """What has the highest accuracy; the first of several."""
    return max(validation, key=lambda choice: validation[choice]["accuracy"])
