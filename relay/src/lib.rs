//! The relay of nearwire: [`core`] decides what goes where.
pub mod core;
