"""What makes a bridge: the bake of its image, and what a bare VM is told and does at its first boot."""
