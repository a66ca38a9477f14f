"""What the app costs, measured against named floors in the same run; never deployed."""
