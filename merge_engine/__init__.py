"""Merge fine-tuned models, exactly as published, and measure what happens."""
