"""Pages to work with in a browser, on this machine only."""

from diffusevae.core.errors import guard_output

guard_output()
