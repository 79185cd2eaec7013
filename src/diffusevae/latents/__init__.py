"""The latent studies: what the code of an autoencoder means (SPEC section 9)."""
