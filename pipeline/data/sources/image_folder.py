"""The data source `image_folder`: pictures in class folders, or in a folder with a table of labels."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipeline.core import regular_file
from pipeline.data.contract import Channels
from pipeline.data.sources.folder import BrokenError, FolderData

if TYPE_CHECKING:
    import PIL.Image

_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "GIF")
_MOST_PIXELS = 100_000_000  # a picture of 300 MB in memory; cameras of phones take half of that
_MODES = {"rgb": "RGB", "bgr": "RGB", "grey": "L"}
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I")

Size = Annotated[int, Field(gt=0, le=4096)]


class ImageFolder(FolderData):
    """Pictures (height, width, channels), uint8 scaled to 0..1, from PNG, JPEG, BMP, WebP and GIF files.

    Pictures are turned as their EXIF orientation says, and resized with an antialiasing filter. Of an animation the
    first picture counts. Transparent pixels become black.
    """

    source: Literal["image_folder"]
    size: Annotated[tuple[Size, Size], Field(strict=False)]
    """Height and width of the examples in pixels, such as [96, 96]."""
    resize: Literal["crop", "pad", "stretch"] = "crop"
    """How other proportions become those of `size`: cut off what is too long, fill with black, or stretch."""
    channels: Literal["rgb", "bgr", "grey"] = "rgb"
    """Colour channels in their order. Grey is the luma of ITU-R 601."""

    raw_dtype: ClassVar[str] = "uint8"
    scaling: ClassVar[tuple[float, float]] = (1 / 255, 0.0)
    range: ClassVar[tuple[float, float]] = (0.0, 255.0)

    def shape(self) -> tuple[int, ...]:
        return (*self.size, 1 if self.channels == "grey" else 3)

    def channel_order(self) -> Channels | None:
        return self.channels

    def decode(self, path: Path) -> NDArray[np.generic]:
        from PIL import Image, ImageOps, UnidentifiedImageError

        try:
            size = regular_file.size(path)
        except OSError as error:
            raise BrokenError(f"can't be read: {error.strerror}") from None
        if not size:
            raise BrokenError("is empty")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow warns of large pictures and odd EXIF data
                with Image.open(path, formats=_FORMATS) as picture:
                    if picture.width * picture.height > _MOST_PIXELS:
                        raise Image.DecompressionBombError
                    picture.draft(None, (4 * self.size[1], 4 * self.size[0]))  # JPEG: decode no more than is needed
                    return self._array(ImageOps.exif_transpose(picture))
        except UnidentifiedImageError:
            raise BrokenError("is no PNG, JPEG, BMP, WebP or GIF picture") from None
        except Image.DecompressionBombError:
            raise BrokenError(f"has more than {_MOST_PIXELS:,} pixels") from None
        except MemoryError:
            raise BrokenError("does not fit into memory") from None
        except Exception:  # Pillow raises many types for a damaged file
            raise BrokenError("is damaged or cut short") from None

    def _array(self, picture: "PIL.Image.Image") -> NDArray[np.uint8]:
        """Return a picture of any mode as an example."""
        from PIL import Image, ImageOps

        if picture.mode in _SIXTEEN_BITS:  # Pillow's own conversion to 8 bits clips
            picture = Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8))
        if picture.mode in ("P", "PA", "LA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
            clear = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", clear.size, (0, 0, 0, 255)), clear)
        picture = picture.convert(_MODES[self.channels])
        height, width = self.size
        filter_, box = Image.Resampling.BILINEAR, (width, height)
        if self.resize == "crop":
            picture = ImageOps.fit(picture, box, filter_)
        elif self.resize == "pad":
            picture = ImageOps.pad(picture, box, filter_)
        else:
            picture = picture.resize(box, filter_)
        array = np.asarray(picture, np.uint8).reshape(self.shape())
        return array[:, :, ::-1] if self.channels == "bgr" else array
