"""How the bundled suites were trained: heads from a few labelled pictures, experts by fine-tuning."""
