//! Recipes, and runs of every method as the library moves them.

mod common;
mod methods;
mod recipe;
mod runs;
