//! Rows B: brokers that die, refuse, limit, take over, lie and flood.
