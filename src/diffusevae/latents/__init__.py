"""The latent studies: what the code of an autoencoder means (docs/study.md, section 9)."""
