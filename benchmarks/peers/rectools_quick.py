"""RecTools' transformers in half of the CPU time, with its losses and gradients: `check_loss` compares them.

Most of the padded columns are left out, and the scores that its loss multiplies by zero.
"""

from itertools import pairwise
from typing import Any

import torch
from rectools.models import BERT4RecModel, SASRecModel
from rectools.models.nn.transformers.lightning import TransformerLightningModule
from rectools.models.nn.transformers.torch_backbone import TransformerTorchBackbone
from torch import Tensor
from torch.nn import functional as F

LENGTHS = (6, 12, 24)
"""Limits of the groups of histories that are encoded together."""
POSITIONS = 128
"""Number of positions whose scores are computed at a time: they fit a CPU's cache."""


class TrimmedBackbone(TransformerTorchBackbone):
    """RecTools' network without most of the padded columns, with equal outputs (`check_loss`).

    Histories have a median of 4 items in 50 columns. Groups of similar length are encoded apart, each with one padded column
    more than its longest history. Without a key padding mask, a padded item is a key of the vector 0 for all items behind it;
    the columns that are left count for those that are not, by the logarithm of the ratio as an addition to their scores.
    (Dropout of attention weights drops them together.)
    """

    def encode_sessions(self, batch: dict[str, Tensor], item_embs: Tensor) -> Tensor:
        """The outputs, [batch_size, session_max_len, n_factors]; 0 in the columns that were left out."""
        sessions = batch["x"]
        length_B = (sessions != 0).sum(1)
        shape = (*sessions.shape, item_embs.shape[1])
        outputs = item_embs.new_zeros(shape)
        for low, high in pairwise((-1, *LENGTHS, sessions.shape[1])):
            rows = ((length_B > low) & (length_B <= high)).nonzero()[:, 0]
            if len(rows):
                columns = min(int(length_B[rows].max()) + 1, sessions.shape[1])
                encoded = self.encode_trimmed(
                    sessions[rows, -columns:], item_embs, sessions.shape[1]
                )
                padded = F.pad(encoded, (0, 0, sessions.shape[1] - columns, 0))
                outputs = outputs.index_put((rows,), padded)
        return outputs

    def encode_trimmed(self, sessions: Tensor, item_embs: Tensor, full: int) -> Tensor:
        """The outputs of histories whose first columns, all padding, were left out of `full` columns."""
        columns = sessions.shape[1]
        padding = sessions == 0
        seqs = self.emb_dropout(self.pos_encoding_layer(item_embs[sessions]))
        bias = torch.zeros(len(sessions), 1, 1, columns)
        if self.use_key_padding_mask:
            bias = bias.masked_fill(padding[:, None, None], -torch.inf)
        elif columns < full:
            pads = padding.sum(1)
            more = torch.log((pads + full - columns) / pads)[:, None, None, None]
            bias = torch.where(padding[:, None, None], more, bias)
        bias = bias.expand(-1, self.n_heads, columns, -1).flatten(0, 1)
        if self.use_causal_attn:
            future = torch.ones(columns, columns, dtype=torch.bool).triu(1)
            bias = bias.masked_fill(future, -torch.inf)
        else:
            bias = bias.clone()
        bias.diagonal(dim1=1, dim2=2).clamp_(min=0)  # a padded column may see nothing but itself
        return self.transformer_layers(seqs, ~padding[:, :, None], bias, None)


class FusedCrossEntropy(torch.autograd.Function):
    """The mean cross-entropy of u_ND @ v_ID.T, and its gradients in the same pass, for a block of positions at a time."""

    @staticmethod
    def forward(ctx: Any, u_ND: Tensor, v_ID: Tensor, target_N: Tensor) -> Tensor:
        """The loss."""
        total, du_ND, dv_ID = u_ND.new_zeros(()), torch.empty_like(u_ND), torch.zeros_like(v_ID)
        for rows in torch.arange(len(u_ND)).split(POSITIONS):
            scores = u_ND[rows] @ v_ID.T
            own = scores.gather(1, target_N[rows, None])
            largest = scores.amax(1, keepdim=True)
            weights = scores.sub_(largest).exp_()
            sums = weights.sum(1, keepdim=True)
            total += (sums.log() + largest - own).sum()
            weights.div_(sums)
            weights[torch.arange(len(rows)), target_N[rows]] -= 1
            du_ND[rows] = weights @ v_ID
            dv_ID.addmm_(weights.T, u_ND[rows])
        ctx.save_for_backward(du_ND, dv_ID)
        ctx.positions = len(u_ND)
        return total / len(u_ND)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """The gradients."""
        du_ND, dv_ID = ctx.saved_tensors
        scale = gradient / ctx.positions
        return du_ND * scale, dv_ID * scale, None


class PackedSoftmax(TransformerLightningModule):
    """RecTools' softmax loss without the logits of padded and unmasked positions, which its loss multiplies by zero."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The mean cross-entropy over the positions with a target."""
        loss = self.packed_loss(batch)
        self.log(self.train_loss_name, loss, on_step=False, on_epoch=True)
        return loss

    def packed_loss(self, batch: dict[str, Tensor]) -> Tensor:
        """The mean cross-entropy over the positions whose target is not padding."""
        item_embs = self.torch_model.item_model.get_all_embeddings()
        session_embs = self.torch_model.encode_sessions(batch, item_embs)
        kept = batch["y"] != 0
        loss: Tensor = FusedCrossEntropy.apply(session_embs[kept], item_embs, batch["y"][kept])
        return loss


def check_loss(model: "SASRecModel | BERT4RecModel") -> None:
    """Assert that loss and gradients of one batch are those of RecTools' own code, without dropout; changes the weights."""
    lightning = model.lightning_model.eval()
    net = lightning.torch_model
    parameters = dict(net.named_parameters())
    lightning._xavier_normal_init()
    batch = next(iter(model.data_preparator.get_dataloader_train()))
    found = lightning.packed_loss(batch)
    mine = torch.autograd.grad(found, parameters.values(), allow_unused=True)
    net.encode_sessions = super(TrimmedBackbone, net).encode_sessions
    expected = lightning._calc_softmax_loss(
        lightning.get_batch_logits(batch), batch["y"], batch["yw"]
    )
    own = torch.autograd.grad(expected, parameters.values(), allow_unused=True)
    del net.encode_sessions
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    for name, g, h in zip(parameters, mine, own, strict=True):
        assert g is not None, name
        assert h is not None, name
        assert (g - h).norm() <= 1e-4 * h.norm() + 1e-7, (name, float(g.norm()), float(h.norm()))
