"""The format of maeface's weights files: safetensors with metadata, in fewer bits, whole or in parts."""
