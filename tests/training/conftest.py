"""What several tests of training share."""

import pytest
import torch

from .alignment.test_teachers import tiny_dino, tiny_sam2, tiny_videomae, tiny_vjepa


@pytest.fixture(scope="session")
def teachers(tmp_path_factory) -> dict[str, str]:
    """Names of tiny random teachers, "KIND:FOLDER" by kind."""
    folder = tmp_path_factory.mktemp("teachers")
    made = {"dinov3": tiny_dino, "vjepa2": tiny_vjepa, "sam2": tiny_sam2}
    made["videomae"] = tiny_videomae
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for kind, make in made.items():
            make().model.save_pretrained(folder / kind)
    return {kind: f"{kind}:{folder / kind}" for kind in made}
