"""How to learn: trainers over packed images.

To add a trainer: one module here, its class in `AnyTrainer` below, one test. The contract is the
docstring of `trainers.base`; configuration, schema and contract tests follow from the union.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from trainers.base import (
    Attack,
    Examples,
    Images,
    Output,
    Predictions,
    PredictTask,
    Saliency,
    SaliencyMethod,
    Trainer,
    TrainingError,
    TrainReport,
    TrainTask,
    WeightPolicy,
)
from trainers.encoders import Encoder
from trainers.ensemble import Ensemble
from trainers.evaluating import (
    EncoderEvaluation,
    EvaluationTask,
    Judgement,
    PublishedProbe,
    evaluate_encoder,
)
from trainers.fer_classifier import FERClassifier
from trainers.linear_probe import LinearProbe
from trainers.pretrainers import AnyPretrainer
from trainers.pretraining import Pretrainer, PretrainReport, PretrainTask

AnyTrainer = Annotated[FERClassifier | LinearProbe | Ensemble, Field(discriminator="name")]
"""Every trainer YAML may name."""

__all__ = [
    "AnyPretrainer",
    "AnyTrainer",
    "Attack",
    "Encoder",
    "EncoderEvaluation",
    "Ensemble",
    "EvaluationTask",
    "Examples",
    "FERClassifier",
    "Images",
    "Judgement",
    "LinearProbe",
    "Output",
    "PredictTask",
    "Predictions",
    "PretrainReport",
    "PretrainTask",
    "Pretrainer",
    "PublishedProbe",
    "Saliency",
    "SaliencyMethod",
    "TrainReport",
    "TrainTask",
    "Trainer",
    "TrainingError",
    "WeightPolicy",
    "evaluate_encoder",
]
