// Loaded before Azurite. The parent holds the other end of stdin: when it ends, however it
// ends, the kernel closes that pipe and this process goes too. Nothing is left behind.
process.stdin.on("end", () => process.exit(0));
process.stdin.on("error", () => process.exit(0));
process.stdin.resume();
