"""Cross-validation: folds, their trainings, and the ensemble that comes of them."""
