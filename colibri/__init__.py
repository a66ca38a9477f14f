"""The private HTTP API of the bridges: what it says (`messages`) and how it is asked (`client`)."""
