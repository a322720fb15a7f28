//! Bitcask: a hash index over an append-only log.
