"""The Freeze-Align head (Maniparambil et al., CVPR 2025, arXiv 2409.19425): the only weights that are trained.

Shapes: B rows, T tokens, D the width of an encoder, K the shared width.

At 1024/1024/1024 (vision, text, shared) the head has 11,553,793 parameters, the temperature included, which is the
paper's 11.5 M. The mean over tokens is taken before every linear map that it commutes with, so that one matrix
product per token remains of three. The function is the same (tested); a step on 900 pairs at 384 wide with 9 tokens
costs 17 GFLOP in matrix products and not 30.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.alignment.data.inputs import ImageInput, TextInput
from pipeline.alignment.heads.base import Head, token_mean


class TokenProjector(nn.Module):
    """LayerNorm and dropout, then a linear branch plus a branch Linear, GELU, Linear; weights shared over tokens."""

    def __init__(self, d_in: int, d_out: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(d_in)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(d_in, d_out)
        self.hidden = nn.Linear(d_in, d_out)
        self.output = nn.Linear(d_out, d_out)

    def forward(self, x: Tensor) -> Tensor:
        """Project each token: (..., D) to (..., K)."""
        x = self.dropout(self.norm(x))
        projected: Tensor = self.linear(x) + self.output(F.gelu(self.hidden(x)))
        return projected

    def mean(self, x_BTD: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """Mean over tokens of the projected tokens, (B, K); with a mask, over the tokens that count.

        Equal to the (masked) mean of `forward(x_BTD)`. Dropout still falls on each normalised token.
        """
        x_BTD = self.dropout(self.norm(x_BTD))
        hidden_BTK = F.gelu(self.hidden(x_BTD))
        projected: Tensor = self.linear(token_mean(x_BTD, mask_BT)) + self.output(token_mean(hidden_BTK, mask_BT))
        return projected


class GlobalMLP(nn.Module):
    """Residual MLP on the pooled text: p = Linear(x); LayerNorm(Dropout(Linear(GELU(p))) + p)."""

    def __init__(self, d_in: int, d_out: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.input = nn.Linear(d_in, d_out)
        self.output = nn.Linear(d_out, d_out)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(d_out)

    def forward(self, x_BD: Tensor) -> Tensor:
        """Map (B, D) to (B, K)."""
        p_BK = self.input(x_BD)
        out: Tensor = self.norm(self.dropout(self.output(F.gelu(p_BK))) + p_BK)
        return out


class FreezeAlign(Head):
    """Projectors of both sides and the temperature.

    Images: a projector for the CLS token plus another, of the same form, for the mean over local tokens. Texts: a token
    projector, the mean over tokens, the global MLP. Both sides end as unit vectors. The reference learns the
    temperature itself and its optimiser decays it towards 0; here it is learned as a logarithm, undecayed.

    Args:
        local: false for the CLS projector alone (the reference's `identity` for local tokens).
    """

    def __init__(
        self,
        vision_dim: int,
        text_dim: int,
        embed_dim: int,
        dropout: float = 0.1,
        temperature: float = 0.07,
        logit_bias: float | None = None,
        local: bool = True,
    ) -> None:
        super().__init__(temperature, logit_bias)
        self.vision_cls = TokenProjector(vision_dim, embed_dim, dropout)
        self.vision_local = TokenProjector(vision_dim, embed_dim, dropout) if local else None
        self.text_token = TokenProjector(text_dim, embed_dim, dropout)
        self.text_global = GlobalMLP(embed_dim, embed_dim, dropout)

    def image_features(self, images: ImageInput) -> Tensor:
        """See `Head`."""
        summed_BK = self.vision_cls(images.cls.float())
        if self.vision_local is not None:
            summed_BK = summed_BK + self.vision_local.mean(images.local.float())
        return F.normalize(summed_BK, dim=-1)

    def patch_features(self, patch_BPD: Tensor, unit: bool = True) -> Tensor:
        """See `Head`: through the projector of local tokens alone, or that of the CLS token where there is no other.

        As in the paper's segmentation, where a text is compared with every patch; its code does not bring them to unit
        length, which changes no comparison between classes, but does change those between patches.
        """
        projector = self.vision_cls if self.vision_local is None else self.vision_local
        projected_BPK: Tensor = projector(patch_BPD.float())
        return F.normalize(projected_BPK, dim=-1) if unit else projected_BPK

    def text_features(self, texts: TextInput) -> Tensor:
        """See `Head`."""
        pooled_BK = self.text_token.mean(texts.tokens.float(), texts.mask)
        return F.normalize(self.text_global(pooled_BK), dim=-1)
