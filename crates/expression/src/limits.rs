//! The bounds on what an expression may be and cost. Expressions are written by tenants, who may be hostile.
//!
//! The first group holds when an expression is compiled, the second each time that it is evaluated. A *step* is one visit of a
//! node of the expression, or about as much work inside of it: 16 bytes of text looked at, 8 names of an object, one element
//! of a list. A step takes some ten nanoseconds, so an evaluation takes about a millisecond at most.

/// The most bytes of an expression's text.
pub const MAX_SOURCE_BYTES: usize = 4096;
/// The most nodes of an expression: each literal, name, operator, call and macro is one.
pub const MAX_NODES: usize = 200;
/// The deepest nesting of brackets.
pub const MAX_NESTING: usize = 32;
/// The deepest tree of nodes: also of operators in a row, such as `a + b + c`; `&&` and `||` in a row are one node.
pub const MAX_DEPTH: usize = 64;
/// How deep macros (`all`, `exists`, `exists_one`, `map`, `filter`) may be in each other.
pub const MAX_NESTED_MACROS: usize = 2;
/// The most regular expressions of an expression.
pub const MAX_PATTERNS: usize = 8;
/// The most bytes of a regular expression's text.
pub const MAX_PATTERN_BYTES: usize = 256;
/// The most bytes of the automaton that a regular expression becomes.
pub const MAX_AUTOMATON_BYTES: usize = 512 << 10;

/// The most steps of one evaluation.
pub const MAX_STEPS: u64 = 100_000;
/// The most bytes that one evaluation may allocate, all together.
pub const MAX_MEMORY_BYTES: u64 = 4 << 20;
