"""The model: a vision transformer, the masked autoencoder of it, the action-unit model, their weights."""
