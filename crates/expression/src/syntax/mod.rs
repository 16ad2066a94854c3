//! From an expression's text to a tree that can be evaluated.
//!
//! The language is the Common Expression Language (CEL), with our own parser: the one of the `cel` crate, which the tests
//! compare this one with, overflows the stack on thirty nested brackets of three kinds before its limit on recursion counts.
//! Names are resolved and macros are recognised while parsing, so that every fault is found, and placed, when an expression is
//! saved rather than when an event comes.

mod literal;
pub(crate) mod node;
mod parser;
mod token;

pub(crate) use parser::parse;
