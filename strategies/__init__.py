"""Which samples next: query strategies over arrays.

`AnyStrategy` is the one list of strategies: a class that joins it can be named in YAML, is held to
the contract by the tests and shows up in `alo strategies list`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from strategies.adversarial import BIM, DeepFool, DeepFoolLinear
from strategies.alfamix import AlfaMix
from strategies.badge import BADGE
from strategies.bait import BAIT
from strategies.bald import BALD
from strategies.base import (
    Candidates,
    Head,
    Kept,
    QueryStrategy,
    Selection,
    Signal,
    StrategyError,
    Validation,
)
from strategies.batchbald import BatchBALD
from strategies.class_balanced import ClassBalanced
from strategies.clue import CLUE
from strategies.cluster_margin import ClusterMargin
from strategies.committee import QueryByCommittee
from strategies.coreset import CoreSet
from strategies.dcom import DCoM
from strategies.disparity import DisparityMin, DisparitySum
from strategies.dropquery import DropQuery
from strategies.facility_location import FacilityLocation
from strategies.falcun import Falcun
from strategies.fass import FASS
from strategies.feature_based import FeatureBased
from strategies.galaxy import GALAXY
from strategies.glister import GLISTER
from strategies.gradmatch import GradMatch
from strategies.graph_cut import GraphCut
from strategies.kmeans import KMeansSampling
from strategies.log_det import LogDet
from strategies.maxherding import MaxHerding
from strategies.mixture import Mixture
from strategies.partition import Partition
from strategies.posterior import EntropyMC, LeastConfidenceMC, MarginMC, MeanStd, VariationRatio
from strategies.prob_cover import ProbCover
from strategies.random_sampling import RandomSampling
from strategies.scg import FLCG, GCCG, LogDetCG
from strategies.scmi import FLCMI, LogDetCMI
from strategies.smi import COM, FL1MI, FL2MI, GCMI, LogDetMI
from strategies.stochastic import Power, SoftmaxTopK, SoftRank
from strategies.subsample import Subsample
from strategies.typiclust import TypiClust
from strategies.uherding import UHerding
from strategies.uncertainty import EntropySampling, LeastConfidence, MarginSampling
from strategies.warm_up import WarmUp

AnyStrategy = Annotated[
    RandomSampling
    | LeastConfidence
    | MarginSampling
    | EntropySampling
    | BADGE
    | CoreSet
    # Uncertainty of posterior draws and committees.
    | VariationRatio
    | MeanStd
    | LeastConfidenceMC
    | MarginMC
    | EntropyMC
    | BALD
    | BatchBALD
    | QueryByCommittee
    # Geometry of embeddings.
    | KMeansSampling
    | TypiClust
    | ProbCover
    | DCoM
    | MaxHerding
    | UHerding
    | ClusterMargin
    # Unsure and unlike each other.
    | BAIT
    | CLUE
    | GLISTER
    | GradMatch
    | FASS
    | GALAXY
    | DropQuery
    | Falcun
    | AlfaMix
    # Submodular functions.
    | FacilityLocation
    | GraphCut
    | LogDet
    | FeatureBased
    | DisparityMin
    | DisparitySum
    # Like a query set, unlike a private set.
    | FL1MI
    | FL2MI
    | GCMI
    | COM
    | LogDetMI
    | FLCG
    | GCCG
    | LogDetCG
    | FLCMI
    | LogDetCMI
    # Distance to a decision boundary.
    | DeepFool
    | BIM
    | DeepFoolLinear
    # Around other strategies.
    | Subsample
    | Partition
    | ClassBalanced
    | WarmUp
    | Mixture
    | Power
    | SoftmaxTopK
    | SoftRank,
    Field(discriminator="name"),
]
"""Every strategy YAML can name, told apart by `name`."""

for _around in (Subsample, Partition, ClassBalanced, WarmUp, Mixture, Power, SoftmaxTopK, SoftRank):
    # They hold members of the union, which did not exist when they were defined.
    _around.model_rebuild(_types_namespace={"AnyStrategy": AnyStrategy})

__all__ = [
    "BADGE",
    "BAIT",
    "BALD",
    "BIM",
    "CLUE",
    "COM",
    "FASS",
    "FL1MI",
    "FL2MI",
    "FLCG",
    "FLCMI",
    "GALAXY",
    "GCCG",
    "GCMI",
    "GLISTER",
    "AlfaMix",
    "AnyStrategy",
    "BatchBALD",
    "Candidates",
    "ClassBalanced",
    "ClusterMargin",
    "CoreSet",
    "DCoM",
    "DeepFool",
    "DeepFoolLinear",
    "DisparityMin",
    "DisparitySum",
    "DropQuery",
    "EntropyMC",
    "EntropySampling",
    "FacilityLocation",
    "Falcun",
    "FeatureBased",
    "GradMatch",
    "GraphCut",
    "Head",
    "KMeansSampling",
    "Kept",
    "LeastConfidence",
    "LeastConfidenceMC",
    "LogDet",
    "LogDetCG",
    "LogDetCMI",
    "LogDetMI",
    "MarginMC",
    "MarginSampling",
    "MaxHerding",
    "MeanStd",
    "Mixture",
    "Partition",
    "Power",
    "ProbCover",
    "QueryByCommittee",
    "QueryStrategy",
    "RandomSampling",
    "Selection",
    "Signal",
    "SoftRank",
    "SoftmaxTopK",
    "StrategyError",
    "Subsample",
    "TypiClust",
    "UHerding",
    "Validation",
    "VariationRatio",
    "WarmUp",
]
