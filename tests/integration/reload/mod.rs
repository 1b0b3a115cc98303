//! Change without a pause: what a reload changes, what it leaves alone, who can ask for one, and what is told of it.

pub mod daemon;
mod files;
mod listeners;
mod triggers;
mod zones;
