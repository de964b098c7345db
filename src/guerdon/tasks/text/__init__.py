"""Questions for language models: generated from a seed, or packaged."""
