//! Expressions over events, in the Common Expression Language (CEL): filters that say which events a subscription wants, and
//! transforms that make other data of them. Those who write them are tenants, and may be hostile. No I/O.
//!
//! - [`EventFilter`]: the patterns of [`eventrelay_event::filter`], and beside them an expression. [`Verdict`] is what it says.
//! - [`Transform`]: an expression whose value becomes the event's data.
//! - [`Subject`]: the event that they are evaluated on. [`DocumentCache`] lets all subscriptions share the one tree of its data.
//! - [`limits`]: what an expression may be and cost.
//!
//! ```text
//!  text ──▶ tokens ──▶ tree, checked and resolved        syntax: once, when it is saved
//!                        │
//!  event ──▶ tree of its data ──▶ value, within a budget   document, evaluate: for each event
//! ```
//!
//! Invariants:
//! - Compiling takes time and stack in proportion to the text, which is bounded, whatever it says.
//! - Evaluating pays for its steps and memory beforehand, so it ends within about a millisecond, whatever expression and event.
//! - That a budget is used up is never taken for "no match".
//! - What compiles in one release compiles in the next, for expressions are stored.

mod budget;
mod document;
mod document_cache;
mod error;
mod evaluate;
mod event_filter;
mod expression;
mod fault;
mod functions;
pub mod limits;
mod pattern;
mod position;
mod subject;
mod syntax;
mod transform;
mod value;
mod write_json;

pub use document_cache::DocumentCache;
pub use error::{CompileError, EvaluationError, Reason};
pub use event_filter::{Because, Decision, EventFilter, FilterError, OPERATIONAL_TYPES, Verdict};
pub use expression::Expression;
pub use position::Position;
pub use subject::Subject;
pub use transform::{Transform, TransformError, Transformed};
