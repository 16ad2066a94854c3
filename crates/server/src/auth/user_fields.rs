//! What an email address and a name of a user can be.

/// The most characters of a name.
pub(crate) const MAX_NAME_CHARS: usize = 128;
/// The most characters of an email address.
pub(crate) const MAX_EMAIL_CHARS: usize = 254;

/// Whether it can be an email address. Whether mail arrives is not looked at: it only has to be what somebody can type.
pub(crate) fn is_email(text: &str) -> bool {
    let parts = text.split_once('@').filter(|(before, behind)| !before.is_empty() && !behind.is_empty());
    let odd = |c: char| c.is_whitespace() || c.is_control();
    let is_one = parts.is_some_and(|(_, behind)| !behind.contains('@')) && !text.contains(odd);
    is_one && text.chars().count() <= MAX_EMAIL_CHARS
}

/// Whether it can be what people call a user.
pub(crate) fn is_name(text: &str) -> bool {
    text.chars().count() <= MAX_NAME_CHARS && !text.contains(char::is_control)
}
