"""Base density of the flow: a hierarchical Gaussian mixture that grows by classes."""

__all__ = ["Mixture"]

import math

import torch
from torch import Tensor

from cl_flow.model.centers import Centers
from cl_flow.model.frames import Frames

# Numbers that the classes' views of latents hold at a time.
VIEWED = 2**22


class Mixture(Centers):
    r"""Class-conditional Gaussian mixture with unit covariance over latents z (N, D).

    Class k has the main center `mu[k]` and, around it, the offsets `delta[k]`; its
    first component is the main center itself:

    $$p(z|k) = \sum_{m < M} \mathrm{softmax}(\psi_k)_m \,
      \mathcal N(z; \mu_k + \delta_{km}, I), \quad \delta_{k0} = 0.$$

    Every expansion is a `Parameter` of its own, so that what was learned earlier can be
    frozen without touching what is new. A mixture starts with no classes; `expand`
    returns a larger one.

    A class may look at the latents through an affine *frame* of its own, $u = W_k z +
    b_k$; its density is then $p(u|k) \, |\det W_k|$. With $W_k$ the inverse root of a
    covariance, that is a Gaussian of any shape. Frames are learned by gradient where
    the mixture is made so (`with_covariance`); without them nothing is computed for
    them.

    References:
        Hierarchical Gaussian mixture normalizing flow modeling for unified anomaly
        detection (Yao et al., 2024)
        https://arxiv.org/abs/2403.13349

    Args:
        dim: Number of latent dimensions D.
        n_components: Components per class M, the main center included.

    Example:
        >>> mixture = Mixture(6, n_components=4).expand(3)
        >>> larger = mixture.expand(2, init="orthogonal")
        >>> larger.components().shape
        torch.Size([5, 4, 6])
        >>> torch.equal(larger.mu[:3], mixture.mu)
        True
        >>> larger.log_prob_each(torch.zeros(8, 6)).shape
        torch.Size([8, 5])
    """

    @property
    def _log_normalizer(self) -> float:
        return 0.5 * self.dim * math.log(2 * math.pi)

    def log_kernel(
        self,
        z: Tensor,
        *,
        classes: Tensor | None = None,
    ) -> Tensor:
        """ℓ_k = −½‖z − mu_k‖² of every class, or of the given ones (N, K).

        The Gaussian constant is left out. In a frame it is −½‖u − mu_k‖² + log|det
        W_k|.
        """
        frames = self.frames
        if frames is not None:
            return self._log_kernel_in_frames(z, frames, classes)
        mu = self.mu
        if classes is not None:
            mu = mu[classes]
        return _log_kernel(z, mu)

    def _log_kernel_in_frames(
        self,
        z: Tensor,
        frames: Frames,
        classes: Tensor | None,
    ) -> Tensor:
        volume = self._log_volume(frames)
        weight = frames.weight
        shift = frames.bias - self.mu
        if classes is not None:
            volume, weight, shift = volume[classes], weight[classes], shift[classes]
        n_at_a_time = max(1, VIEWED // max(1, z.numel()))
        columns = []
        for W, b in zip(weight.split(n_at_a_time), shift.split(n_at_a_time)):
            off = torch.addmm(b.flatten(), z, W.flatten(0, 1).T)
            off = off.view(len(z), len(W), self.dim)
            columns.append(off.square().sum(-1))
        square = torch.cat(columns, dim=1)
        return torch.add(volume, square, alpha=-0.5)

    def log_prob(self, z: Tensor, y: Tensor) -> Tensor:
        """log p(z | y) (N,) of latents under the components of their given classes.

        Args:
            z: Latents (N, D).
            y: Class ids (N,), or (B,) with N a multiple of B: N/B consecutive latents
                then share a class.
        """
        log_kernel = self.log_kernel_within(z, y)
        log_p = log_kernel.logsumexp(-1).flatten()
        return log_p - self._log_normalizer

    def log_kernel_within(
        self,
        z: Tensor,
        y: Tensor,
        *,
        detach_mu: bool = False,
    ) -> Tensor:
        """−½‖z − mu_y − delta_ym‖² + log softmax(psi_y)_m (B, N/B, M).

        Only the given class is ever computed. In a frame it is that of u, plus log|det
        W_y|.
        """
        n_images = len(y)
        z = z.reshape(n_images, -1, self.dim)
        log_weight = self.psi.log_softmax(-1)[y]
        centers = self.components(detach_mu=detach_mu)[y]
        frames = self._frames(detach_mu=detach_mu)
        if frames is not None:
            z = frames.of_images(z, y)
            volume = self._log_volume(frames)[y]
            log_weight = log_weight + volume[:, None]
        log_kernel = _log_kernel(z, centers)
        return log_kernel + log_weight[:, None]

    def log_prob_each(self, z: Tensor) -> Tensor:
        """log p(z | k) (N, K) of latents (N, D) under every class."""
        if self.is_framed:
            classes = torch.arange(self.n_classes, device=z.device)
            columns = [self.log_prob(z, k[None]) for k in classes]
            return torch.stack(columns, dim=1)
        centers = self.components()
        log_kernel = _log_kernel(z, centers.flatten(0, 1))
        log_kernel = log_kernel.unflatten(1, centers.shape[:2])
        log_weight = self.psi.log_softmax(-1)
        log_joint = log_kernel + log_weight
        return log_joint.logsumexp(-1) - self._log_normalizer

    def negentropy(
        self,
        z: Tensor,
        *,
        classes: Tensor | None = None,
    ) -> Tensor:
        """Σ_k p_k log p_k (N,) of the class posterior p = softmax(ℓ).

        0 is certain, −ln K knows nothing.

        Args:
            z: Latents (N, D).
            classes: Ids of the classes that enter the posterior; all of them by
                default. The others are never computed, so that a later expansion leaves
                the value to the bit.
        """
        log_kernel = self.log_kernel(z, classes=classes)
        log_p = log_kernel.log_softmax(-1)
        return (log_p.exp() * log_p).sum(-1)


def _log_kernel(z: Tensor, centers: Tensor) -> Tensor:
    """−½‖z − center‖² (…, N, K) of latents (…, N, D) and centers (…, K, D)."""
    of_latents = z.square().sum(-1)
    of_centers = centers.square().sum(-1)
    square = of_latents[..., :, None] + of_centers[..., None, :]
    product = torch.addmm if z.ndim == 2 else torch.baddbmm
    return product(square, z, centers.mT, beta=-0.5)
