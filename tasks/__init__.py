"""How one step of a flow runs: a DVC stage, the registry, the report."""

from diffusevae.core.errors import guard_output

guard_output()
