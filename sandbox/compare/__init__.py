"""The comparison: this product's policy and others, each on the same seeded weeks of the same world."""
