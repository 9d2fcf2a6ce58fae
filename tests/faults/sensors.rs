//! Rows S: sensors that hang, fail, lie and are missing.
