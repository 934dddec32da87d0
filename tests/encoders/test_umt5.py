"""umT5 against its golden tensors, and one padding row that counts for all of them."""

import pytest
import torch

from sama_core.encoders.umt5 import PaddedText, Umt5Encoder
from sama_core.encoders.umt5_layout import Umt5Sizes, comfy_name
from sama_core.errors import SamaError
from sama_core.model.attention import sdpa

from ..harness.golden import assert_close, load_golden


@pytest.mark.parametrize("case", ["case1", "case2_long", "case3_full"])
def test_text_encoder_equals_golden(case):
    golden = load_golden("t5_small")
    weights = {comfy_name(name): value for name, value in golden.state_dict().items()}
    encoder = Umt5Encoder(Umt5Sizes.from_state_dict({**weights, "spiece_model": None}, "golden"))
    encoder.load_state_dict(weights)
    ids, mask = golden[f"{case}.ids"], golden[f"{case}.mask"]
    with torch.inference_mode():
        found = encoder(ids * mask)
    assert_close(found, golden[f"{case}.embeddings"], rel_l2=5e-6)


def test_short_text_attends_like_512_rows():
    """One padding row that counts for many gives what all of them give."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, rows, 32, generator=generator) for rows in (7, 10, 10))
    k[:, 6:], v[:, 6:] = k[:, 9:], v[:, 9:]
    long_k, long_v = (torch.cat([x, x[:, 9:].expand(-1, 502, -1)], 1) for x in (k, v))
    assert_close(PaddedText(10)(q, k, v, 2), sdpa(q, long_k, long_v, 2), rel_l2=1e-5)


def test_text_of_another_length_is_refused():
    with pytest.raises(SamaError, match="text: got 9 rows, needs text_length 10"):
        PaddedText(10)(torch.zeros(1, 3, 4), torch.zeros(1, 9, 4), torch.zeros(1, 9, 4), 1)
