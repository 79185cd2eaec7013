"""What tests of spectra share."""

import pytest

from diffusevae.core.params import load_sections
from diffusevae.latents.spectra.measured_spectra import Spectra, read_spectra
from diffusevae.stages import spectra as stage
from tests.support.checkouts import ROOT
from tests.support.real_data import raw_folder


@pytest.fixture(scope="module")
def raw() -> Spectra:
    return read_spectra(raw_folder("raman"))


@pytest.fixture(scope="module")
def smoke():
    params = load_sections(ROOT / "params.yaml", stage.ROOT, "latents_smoke", stage.SECTIONS)
    params.key = "latents_smoke"
    return params
