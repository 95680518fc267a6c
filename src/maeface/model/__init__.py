"""The networks: vision transformer, masked autoencoder, AU model; and their weights."""
