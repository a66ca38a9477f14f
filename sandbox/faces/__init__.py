"""The world over its real protocols: ARM, Monitor, the identity endpoint and the bridges' ports."""
