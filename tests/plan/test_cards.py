"""Published peaks of cards, by the names that torch gives them."""

import pytest

from sama_core.errors import InputError
from sama_core.plan.cards import is_same_card, list_cards, name_machine, peak
from sama_core.plan.machine import GIB


@pytest.mark.parametrize(
    ("card", "bf16", "fp8"),
    [
        ("NVIDIA GeForce RTX 3060", 25.4, None),
        ("NVIDIA GeForce RTX 3090", 71.2, None),
        ("NVIDIA GeForce RTX 4060 Ti", 44.2, 88.4),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", 88.2, 176.4),
        ("NVIDIA GeForce RTX 4090", 165.2, 330.4),
        ("rtx 4090", 165.2, 330.4),
        ("NVIDIA GeForce RTX 5090", 209.6, 419.2),
        ("NVIDIA A100-SXM4-80GB", 312, None),
        ("NVIDIA A100 80GB PCIe", 312, None),
        ("NVIDIA RTX A6000", 154.8, None),
        ("NVIDIA H100 80GB HBM3", 989, 1979),
        ("NVIDIA H100 PCIe", 756, 1513),
        ("NVIDIA H200", 989, 1979),
        ("NVIDIA L40S", 362, 733),
        ("NVIDIA RTX 6000 Ada Generation", 364.2, 728.5),
    ],
)
def test_published_peaks_by_torchs_names(card, bf16, fp8):
    found = peak(card)
    assert found.bf16 == pytest.approx(bf16 * 1e12)
    assert found.fp8 is None if fp8 is None else found.fp8 == pytest.approx(fp8 * 1e12)


@pytest.mark.parametrize(
    "card",
    [
        None,
        "",
        "NVIDIA GeForce RTX 4090 Laptop GPU",
        "NVIDIA GeForce RTX 4090 D",
        "Tesla T4",
        "NVIDIA GeForce GTX 1080 Ti",
        "AMD Radeon RX 7900 XTX",
        "AMD EPYC",
    ],
)
def test_other_cards_have_no_peak(card):
    assert peak(card) is None


def test_card_memory_is_no_part_of_a_cards_name():
    assert peak("NVIDIA GeForce RTX 4060 Ti 16GB") == peak("NVIDIA GeForce RTX 4060 Ti")


@pytest.mark.parametrize(
    ("name", "gib"),
    [
        ("RTX 4070", 12),
        ("NVIDIA GeForce RTX 5090", 32),
        ("RTX 4060 Ti 16 GB", 16),
        ("h200", 141),
        ("L40S 48 GB", 45),
        ("NVIDIA A10", 22.5),
    ],
)
def test_a_named_card_has_the_memory_that_it_is_sold_with(name, gib):
    """Less what some keep for error correction."""
    machine = name_machine(name)
    assert (machine.card, machine.free_vram, machine.total_vram) == (name, gib * GIB, gib * GIB)
    assert machine.assumed_vram


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("RTX 9999", "card: got RTX 9999, needs one of RTX 3050 8 GB, RTX 3060 12 GB, "),
        ("RTX 4090 Laptop GPU", "card: got RTX 4090 Laptop GPU, needs one of "),
        ("RTX 4060 Ti", "needs RTX 4060 Ti 8 GB or RTX 4060 Ti 16 GB. Name one of them."),
        ("", "card: got , needs one of "),
    ],
)
def test_other_names_are_refused_with_the_known_ones(name, complaint):
    with pytest.raises(InputError) as refused:
        name_machine(name)
    assert complaint in str(refused.value)


def test_every_listed_card_is_known():
    listed = list_cards()
    assert len(listed) == len(set(listed)) == 41
    assert all(peak(card) and name_machine(card).free_vram for card in listed)


def test_the_same_card_under_two_names():
    assert is_same_card("NVIDIA GeForce RTX 4090", "rtx 4090 24 GB")
    assert not is_same_card("RTX 4090", "RTX 4080")
    assert not is_same_card("RTX 9999", "RTX 9999")
