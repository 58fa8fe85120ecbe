//! Helpers for tests: golden files, data on disk; and the whole-system tests.
