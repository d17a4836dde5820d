import pytest
import torch
from reference_metrics import GivenScores

from heterrec_model.data.user_items import AddedScores, UserItemPairs
from heterrec_model.evaluation.ranking import UserBlock, rank_targets

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]


@pytest.mark.parametrize("targets_each", [1, 12])
def test_a_gpu_ranks_as_the_cpu_does(targets_each: int) -> None:
    """Few distinct scores; with many targets by sorting, else by comparing."""
    random = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 30, (16, 200), generator=random).float()
    order = torch.rand((16, 200), generator=random).argsort(1)
    user_P = torch.arange(16).repeat_interleave(targets_each)
    targets = UserItemPairs(user_P, order[:, :targets_each].flatten())
    seen = UserItemPairs(torch.arange(16).repeat_interleave(20), order[:, 5:25].flatten())
    added = AddedScores(
        UserItemPairs(torch.arange(16).repeat_interleave(5), order[:, 3:8].flatten()),
        torch.randint(1, 30, (80,), generator=random).float(),
    )
    found = []
    for device in ("cpu", "cuda"):
        users = torch.arange(16.0, device=device)[:, None]
        block = UserBlock(users, list(range(16)), seen, added)
        scorer = GivenScores(scores.to(device))
        found.append(rank_targets(scorer, block, targets, chunk_items=64))
    one, other = found
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
