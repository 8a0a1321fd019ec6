"""The data plane: small compiled functions over flat arrays. Rule numbers refer to docs/background/engine-rules.md."""
