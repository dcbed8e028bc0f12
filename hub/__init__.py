"""Getting a trained run onto the Hugging Face Hub: model cards, pushes, imports of foreign checkpoints."""
