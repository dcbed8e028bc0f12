"""From pictures to figures: data, synthesis, training, evaluation, studies and benchmarks."""
