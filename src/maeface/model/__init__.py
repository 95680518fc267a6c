"""The networks (vision transformer, masked autoencoder, AU model), their input and their weights files."""
