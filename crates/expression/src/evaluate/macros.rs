//! `all`, `exists`, `exists_one`, `filter` and `map`: each element costs its steps, so that what they iterate is bounded with
//! everything else.

use super::{Evaluation, elements};
use crate::fault::{Fault, FaultKind};
use crate::syntax::node::{Macro, MacroKind};
use crate::value::{List, Value};

impl<'a> Evaluation<'a> {
    pub(super) fn expand(&mut self, it: &'a Macro) -> Result<Value<'a>, Fault> {
        let over = self.value(&it.over)?;
        let found = over.type_name();
        if let Value::Map(map) = &over {
            let bytes = map.len() * 3 * size_of::<Value<'_>>();
            self.budget.memory(bytes).map_err(|kind| kind.at(it.over.at))?;
        }
        let not_iterable = FaultKind::NoOverload { operation: name(it.kind), left: found, right: None };
        let over = elements(over).ok_or(not_iterable.at(it.over.at))?;
        // A macro inside of another one has its own place, and the outer one's is put back when the inner one is done.
        match it.kind {
            MacroKind::All => self.decide(it, &over, false),
            MacroKind::Exists => self.decide(it, &over, true),
            MacroKind::ExistsOne => {
                let mut count = 0;
                for element in over.iter() {
                    count += u32::from(self.is_meant(it, element)?);
                }
                Ok(Value::Bool(count == 1))
            }
            MacroKind::Filter | MacroKind::Map => self.collect(it, &over),
        }
    }

    /// `all` is decided by false and `exists` by true; an element that decides hides the faults of those before it.
    fn decide(&mut self, it: &'a Macro, over: &List<'a>, decides: bool) -> Result<Value<'a>, Fault> {
        let mut first_fault = None;
        for element in over.iter() {
            match self.is_meant(it, element) {
                Ok(value) if value == decides => return Ok(Value::Bool(decides)),
                Ok(_) => {}
                Err(fault) if fault.kind.is_over_budget() => return Err(fault),
                Err(fault) => first_fault = first_fault.or(Some(fault)),
            }
        }
        first_fault.map_or(Ok(Value::Bool(!decides)), Err)
    }

    fn collect(&mut self, it: &'a Macro, over: &List<'a>) -> Result<Value<'a>, Fault> {
        let mut collected = Vec::new();
        for element in over.iter() {
            if !self.is_meant(it, element.clone())? {
                continue;
            }
            let value = match &it.result {
                Some(result) => self.value(result)?,
                None => element,
            };
            // A vector that grows is at most half empty.
            self.budget.memory(2 * size_of::<Value<'_>>()).map_err(|kind| kind.at(it.over.at))?;
            collected.push(value);
        }
        Ok(Value::made_list(collected))
    }

    /// Puts the element in its place, and tests it.
    fn is_meant(&mut self, it: &'a Macro, element: Value<'a>) -> Result<bool, Fault> {
        self.budget.steps(1).map_err(|kind| kind.at(it.over.at))?;
        self.variables[it.variable] = element;
        it.test.as_ref().map_or(Ok(true), |test| self.condition(test))
    }
}

fn name(kind: MacroKind) -> &'static str {
    match kind {
        MacroKind::All => "all",
        MacroKind::Exists => "exists",
        MacroKind::ExistsOne => "exists_one",
        MacroKind::Filter => "filter",
        MacroKind::Map => "map",
    }
}
