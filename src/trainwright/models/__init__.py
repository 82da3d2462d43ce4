"""Models as repeated blocks of ops, from presets, shapes or a Hugging Face config."""
