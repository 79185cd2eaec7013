"""Lets a registered model make its images with its own code; run in a process of its own.

    python -P tasks/registry/version_worker.py MODEL_FOLDER IMAGES SEED MADE

Files are safetensors: IMAGES has uint8 images, MADE gets refined and generated ones, float32 in
[0, 1]. Nothing of this checkout is imported, so the package that is, is the model's.
"""

import sys
from pathlib import Path

import mlflow.pyfunc
import numpy as np
from safetensors.numpy import load_file, save_file


def main(folder: str, images: str, seed: str, made: str) -> None:
    """Refine the images and generate as many, through what every version offers: predict."""
    model = mlflow.pyfunc.load_model(folder)
    package = Path(str(sys.modules["diffusevae"].__file__))
    if not package.is_relative_to(Path(folder).resolve()):
        raise ImportError(f"{package} is not the model's own code")
    real = load_file(images)["images"].astype(np.float32) / 255
    numbers = {"refined": 0, "generated": len(real)}
    save_file(
        {
            name: np.ascontiguousarray(
                model.predict(real, params={"num_images": number, "seed": int(seed)})
            )
            for name, number in numbers.items()
        },
        made,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
