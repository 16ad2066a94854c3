//! The functions that an expression can call, and how they are called.

/// A function. What it does is in [`crate::evaluate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    LowerAscii,
    UpperAscii,
    Trim,
    Split,
    Join,
    Replace,
    Substring,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
    ToBytes,
    ToBool,
    ToTimestamp,
    ToDuration,
    GetFullYear,
    GetMonth,
    GetDate,
    GetDayOfWeek,
    GetHours,
    GetMinutes,
    GetSeconds,
}

/// How a function may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `f(a)`.
    Global,
    /// `a.f()`.
    Member,
    /// Both.
    Either,
}

/// Name, function, style, and the least and most arguments, what it is called on included.
const FUNCTIONS: [(&str, Function, Style, usize, usize); 26] = [
    ("size", Function::Size, Style::Either, 1, 1),
    ("contains", Function::Contains, Style::Member, 2, 2),
    ("startsWith", Function::StartsWith, Style::Member, 2, 2),
    ("endsWith", Function::EndsWith, Style::Member, 2, 2),
    ("lowerAscii", Function::LowerAscii, Style::Member, 1, 1),
    ("upperAscii", Function::UpperAscii, Style::Member, 1, 1),
    ("trim", Function::Trim, Style::Member, 1, 1),
    ("split", Function::Split, Style::Member, 2, 2),
    ("join", Function::Join, Style::Member, 1, 2),
    ("replace", Function::Replace, Style::Member, 3, 3),
    ("substring", Function::Substring, Style::Member, 2, 3),
    ("int", Function::ToInt, Style::Global, 1, 1),
    ("uint", Function::ToUint, Style::Global, 1, 1),
    ("double", Function::ToDouble, Style::Global, 1, 1),
    ("string", Function::ToText, Style::Global, 1, 1),
    ("bytes", Function::ToBytes, Style::Global, 1, 1),
    ("bool", Function::ToBool, Style::Global, 1, 1),
    ("timestamp", Function::ToTimestamp, Style::Global, 1, 1),
    ("duration", Function::ToDuration, Style::Global, 1, 1),
    ("getFullYear", Function::GetFullYear, Style::Member, 1, 1),
    ("getMonth", Function::GetMonth, Style::Member, 1, 1),
    ("getDate", Function::GetDate, Style::Member, 1, 1),
    ("getDayOfWeek", Function::GetDayOfWeek, Style::Member, 1, 1),
    ("getHours", Function::GetHours, Style::Member, 1, 1),
    ("getMinutes", Function::GetMinutes, Style::Member, 1, 1),
    ("getSeconds", Function::GetSeconds, Style::Member, 1, 1),
];

impl Function {
    /// The function of a call; what is wrong with the call otherwise.
    pub(crate) fn of_call(name: &str, is_member: bool, arguments: usize) -> Result<Self, String> {
        let Some(&(_, function, style, least, most)) = FUNCTIONS.iter().find(|known| known.0 == name) else {
            let meant = FUNCTIONS
                .iter()
                .map(|known| known.0)
                .chain(["matches", "has", "all", "exists", "filter", "map"]);
            return Err(match closest(name, meant) {
                Some(meant) => format!("there is no function `{name}`; did you mean `{meant}`?"),
                None => format!("there is no function `{name}`"),
            });
        };
        match (style, is_member) {
            (Style::Global, true) => return Err(format!("`{name}` is called as `{name}(…)`")),
            (Style::Member, false) => return Err(format!("`{name}` is called as `….{name}(…)`")),
            _ => {}
        }
        if (least..=most).contains(&arguments) {
            return Ok(function);
        }
        let own = usize::from(is_member);
        let (least, most) = (least - own, most - own);
        let expected = if least == most { least.to_string() } else { format!("{least} or {most}") };
        Err(format!("`{name}` takes {expected} arguments, and is given {}", arguments - own))
    }

    /// The name, as it is called.
    pub(crate) fn name(self) -> &'static str {
        FUNCTIONS.iter().find(|known| known.1 == self).map_or("function", |known| known.0)
    }
}

/// The name that was meant, if one is near.
pub(crate) fn closest(name: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let near = names.map(|known| (strsim::damerau_levenshtein(name, known), known));
    near.min().filter(|(distance, _)| *distance <= 2).map(|(_, known)| known)
}
