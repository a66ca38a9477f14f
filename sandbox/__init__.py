"""
A simulated shard farm: Azure, the bridges, Jicofo and the people who meet.

Never deployed and never imported by the rooms that are. Everything here is deterministic: one
seed, one history. `world` puts the parts together, `ports` and `memory_store` face the engine.
"""
