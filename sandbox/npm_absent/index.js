// Loaded in place of SQL drivers and of telemetry: neither has work to do in an in-memory table.
module.exports = {};
