"""Published peaks of cards, by the names that torch gives them."""

import pytest

from sama_core.plan.machine import peak


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
