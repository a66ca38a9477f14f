"""The command line: speaks HTTP to the app only, the same to Azure and to the sandbox. Never deployed."""
