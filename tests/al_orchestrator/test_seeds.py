from __future__ import annotations

from al_orchestrator.seeds import derive_rng, derive_seed


def test_equal_keys_give_equal_streams_and_no_two_keys_the_same() -> None:
    keys = [(s, n, p) for s in (0, 1) for n in (0, 1) for p in ("train", "select")]
    seeds = [derive_seed(s, n, p) for s, n, p in keys]  # type: ignore[arg-type]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    again = [derive_rng(3, 1, "select").random() for _ in range(2)]
    assert again[0] == again[1]


# First eight bytes of sha256("alo:0:0:train"), big-endian, halved.
DERIVED_ON_PAPER = 0xDA2FB09409E09220 >> 1


def test_seeds_stay_what_they_were_in_every_version() -> None:
    assert derive_seed(0, 0, "train") == DERIVED_ON_PAPER
